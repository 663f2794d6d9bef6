"""Each part of the benchmarks, in its quick way: real runs, numbers that mean nothing."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks import PARTS
from lowrank_bench.data import folders

ROOT = Path(__file__).parents[2]
FASHION = folders.SYSTEM / "fashion-mnist"
BY_COMMAND = "plan"

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("part", [part for part in PARTS if part != BY_COMMAND])
def test_a_part_measures_what_its_section_tells(part: str) -> None:
    if part in ("overhead", "threads", "founding") and not FASHION.is_dir():
        pytest.skip("Fashion-MNIST is not on this machine: apt install dataset-fashion-mnist")
    module = import_module(f"benchmarks.{part}")
    found = json.loads(json.dumps(module.measure(True)))
    assert "| --- |" in module.section(found)
    assert len(module.verdicts(found)) > 0 or part == "serving"


def test_a_part_is_kept_and_put_on_the_page_by_the_command(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "benchmarks", BY_COMMAND, "--quick", "--into", str(tmp_path)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "data" / "benchmarks" / f"{BY_COMMAND}.json").read_text())
    assert kept["quick"]
    assert kept["machine"]["versions"]["torch"]
    text = (tmp_path / "benchmarks.md").read_text()
    assert "lowrank-plan model=llama_9m" in text
    assert text.count("Not measured yet") == len(PARTS) - 1
