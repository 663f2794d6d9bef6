import sys
from pathlib import Path

import pytest
from synthetic_records import Write, write

# the benchmarks, which make many records, are no part of the installed package
sys.path.append(str(Path(__file__).parents[2]))


@pytest.fixture
def write_run(tmp_path: Path) -> Write:
    """Write one run below `tmp_path/runs`; return the folder of the run."""
    return lambda **given: write(tmp_path / "runs", **given)
