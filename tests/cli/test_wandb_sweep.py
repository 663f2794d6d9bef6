"""Weights & Biases without a key: offline, without a prompt, without a process left over."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from left_behind import records, wait_until

pytestmark = pytest.mark.slow


def summary(folder: Path) -> dict:
    """The outcome of an offline run, as W&B's own reader sees it."""
    program = Path(sys.executable).with_name("wandb")
    printed = subprocess.run(
        [program, "leet", "inspect", "--json", folder], check=True, capture_output=True, text=True
    ).stdout
    outcome: dict = {}
    for item in map(json.loads, printed.splitlines()):
        if item["type"] == "summary":
            outcome |= item["summary"]["update"]
    return outcome


def test_a_sweep_without_a_key_is_written_offline(bench, here, alive):
    outcome = bench(
        *("-m", "method=full", "seed=0,1,2", "logger=wandb"),
        *("data=digits", "epochs=1", "model.hidden=[32,32]"),
    )
    assert (outcome.code, outcome.err) == (0, "")
    (said,) = [line for line in outcome.out.splitlines() if "W&B" in line]
    assert "wandb sync" in said
    assert "wandb:" not in outcome.out
    wait_until(lambda: not alive(), seconds=10, what="W&B's service ends")
    made = records(here / "runs")
    assert [record["status"] for record in made] == ["finished"] * 3
    for record in made:
        (offline,) = (here / "runs").glob(f"*{record['fingerprint']}/wandb/offline-run-*")
        end = summary(offline)
        assert end["status"] == "finished"
        assert end["selected/test_accuracy"] == pytest.approx(
            record["metrics"]["selected"]["test_accuracy"]
        )
    assert sorted(path.name for path in here.iterdir()) == ["runs"]
