"""The wheel, used as a stranger would: from another folder, without the checkout."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = """
import sys, lowrank_bench
assert lowrank_bench.__file__.startswith(sys.argv.pop(1)), lowrank_bench.__file__
from lowrank_bench.cli import main
sys.exit(main())
"""


@pytest.mark.slow
def test_an_installed_wheel_runs_from_an_unrelated_folder(tmp_path):
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    install = ["install", "--no-deps", "--no-build-isolation", "--target", str(site), str(ROOT)]
    subprocess.run([*pip, *install], check=True, capture_output=True)
    # PYTHONPATH has the dependencies' folder too, but not its .pth files: no checkout there.
    paths = [str(site), sysconfig.get_paths()["purelib"]]
    outcome = subprocess.run(
        [sys.executable, "-S", "-c", PROGRAM, str(site), "data=digits", "epochs=1", "logger=local"],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert "finished" in outcome.stdout
    assert len(list(elsewhere.glob("runs/*/record.json"))) == 1
