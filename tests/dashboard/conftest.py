"""A record with all its parts, and an environment without anybody's W&B."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lowrank_bench.record import RunRecord


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in os.environ:
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    yield
    if wandb := sys.modules.get("wandb"):
        wandb.teardown()  # W&B reads its environment once per service


@pytest.fixture
def record() -> RunRecord:
    """A finished run of a method without a rank, whose config has one all the same."""
    made = RunRecord(
        status="finished",
        fingerprint="f00dfeedf00dfeed",
        control_hash="c0ffee0011223344",
        method_hash="badcab1e55667788",
        seed=3,
        name={
            "method": "full",
            "data": "toy",
            "model": "mlp",
            "base": "scratch",
            "rank": None,
            "lr": 0.002,
        },
        config={
            "rank": 8,
            "lr": 0.001,
            "seed": 3,
            "epochs": 2,
            "method": {"name": "full", "optimizer": {"lr": 0.002, "betas": [0.9, 0.999]}},
            "data": {"name": "toy", "root": None},
        },
        choices={"method": "full", "method/init": None},
        overrides=["method=full", "lr=0.001"],
        env={"versions": {"torch": "2.15.0"}, "device": "cpu", "threads": 1},
        base={"fingerprint": "ba5e"},
    )
    made.params |= {"total": 100, "trainable": 40, "by_role": {"dense": 40}, "targets": ["head"]}
    made.cost |= {"train_seconds": 1.5, "step_time_s": {"median": 0.003, "p95": 0.004}}
    made.cost_source |= {"train_seconds": "measured"}
    made.receipts = {
        "moved": {"ok": True, "value": {"dense": True}, "note": ""},
        "drift": {"ok": False, "value": 0.1, "note": "too far"},
        "scale": {"ok": None, "value": 2.0, "note": "informs"},
    }
    made.metrics["before"] |= {"val_accuracy": 0.1}
    made.metrics["final"] |= {"val_accuracy": 0.8, "train_loss": 0.25}
    made.metrics["selected"] |= {
        "val_accuracy": 0.9,
        "test_accuracy": 0.85,
        "epoch": 1,
        "rule": "best_val_accuracy",
    }
    made.change = {"summary": {"moved_share": 0.5}, "features": {"target": 0.75}, "seconds": 0.2}
    return made
