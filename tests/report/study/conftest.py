import pytest
from planted import synthetic_study, view_of

from lowrank_bench.protocol.study import Study
from lowrank_bench.report.study.view import View


@pytest.fixture(scope="session")
def study() -> Study:
    """lora r8 is a point better than full, dora r8 two worse; lora r2 was tuned to the edge."""
    return synthetic_study(
        methods=("full", "lora", "dora", "adalora"),
        ranks=(2, 8),
        seeds=10,
        gains={"lora r8": 0.01, "dora r8": -0.02, "dora r2": -0.02, "adalora": -0.004},
        best_lrs={"dora": 0.1, "lora": 0.00316},
        curvature=0.016,  # 0.4 points are lost at half a decade, 1.6 at one
        diverges_above=0.5,
        knobs={"lora": ("method.optimizer.ratio", (4,))},
        references=("full", "lora"),
        source=True,
        duplicates=1,
        defects={"lora r2": "edge", "adalora r2": "receipts"},
    )


@pytest.fixture(scope="session")
def view(study: Study) -> View:
    return view_of(study)
