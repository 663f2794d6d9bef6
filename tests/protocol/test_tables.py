from pathlib import Path

import polars as pl
import pytest
from synthetic_study import synthetic_study

from lowrank_bench.protocol.study import Study
from lowrank_bench.protocol.tables import measured, tables
from lowrank_bench.protocol.verdicts import verdicts

NAMES = {"leaderboard", "comparisons", "trials", "sensitivity", "equal_lr", "slices", "standing"}


@pytest.fixture(scope="module")
def study() -> Study:
    return synthetic_study(
        methods=("full", "lora", "dora", "pissa"),
        ranks=(4, 8),
        references=("full", "lora"),
        seeds=10,
        duplicates=2,
        knobs={"dora": ("method.optimizer.ratio", [2, 4])},
        diverges_above=0.05,
        defects={"pissa r4": "edge", "pissa r8": "budget"},
    )


def written(frames: dict[str, pl.DataFrame]) -> dict[str, str]:
    return {name: frame.write_csv() for name, frame in frames.items()}


def test_all_tables_can_be_written(study: Study) -> None:
    assert set(written(tables(study))) == NAMES
    assert set(written(measured(study))) == {"costs", "memory_slices"}


def test_the_order_of_the_runs_changes_no_byte(study: Study) -> None:
    expected, lines = written(tables(study)), verdicts(study)
    for seed in range(3):
        runs = study.runs.sample(fraction=1, shuffle=True, seed=seed)
        shuffled = Study(study.ledger, runs)
        assert written(tables(shuffled)) == expected
        assert verdicts(shuffled) == lines


def test_what_clocks_and_allocators_say_changes_no_byte(study: Study) -> None:
    moved = study.runs.with_columns(pl.col("train_seconds", "peak_memory_bytes") * 1.37)
    other = Study(study.ledger, moved)
    assert written(tables(other)) == written(tables(study))
    assert written(measured(other)) != written(measured(study))


def test_a_study_that_was_written_and_read_has_the_same_tables(
    study: Study, tmp_path: Path
) -> None:
    study.write(tmp_path)
    assert written(tables(Study.read(tmp_path))) == written(tables(study))


def test_before_anything_ran_the_tables_have_their_columns(study: Study) -> None:
    empty = synthetic_study()
    empty.ledger.metric = None
    for arm in empty.ledger.arms:
        arm.selected, arm.trials, arm.runs = None, [], {}
    bare, whole = tables(Study(empty.ledger, empty.runs.clear())), tables(study)
    assert {name: frame.columns for name, frame in bare.items()} == {
        name: frame.columns for name, frame in whole.items()
    }
