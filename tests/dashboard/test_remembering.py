"""What goes to W&B comes back as the same record."""

import json
from dataclasses import asdict
from typing import Any

import pytest

from lowrank_bench.dashboard.remembering import is_ours, record_of, rows_of
from lowrank_bench.loggers import naming
from lowrank_bench.record import RunRecord


def told(record: RunRecord, sweep: dict[str, Any] | None = None) -> tuple[dict, dict]:
    """Config and summary as W&B has them, a sweep's parameters in the place of ours."""
    shown = naming.config(record) | (sweep or {})
    config = shown | {naming.FACTS: naming.facts(record, shown)}
    return json.loads(json.dumps(config)), json.loads(json.dumps(naming.summary(record)))


def without_values(record: RunRecord) -> dict[str, Any]:
    """The record but for what W&B is never told."""
    content = asdict(record)
    kept = {n: r["ok"] for n, r in record.receipts.items() if r["ok"] is not None}
    content["receipts"] = {n: {"ok": ok, "value": None, "note": None} for n, ok in kept.items()}
    return content


def test_a_run_comes_back_as_it_was(record: RunRecord) -> None:
    found = record_of(*told(record), "finished")
    assert asdict(found) == without_values(record)


def test_the_knobs_that_a_sweep_took_over_come_back_too(record: RunRecord) -> None:
    swept = {"method": "full", "rank": 8, "method.optimizer.lr": 0.002}
    config, summary = told(record, swept)
    assert config["method"] == "full"  # W&B lets nothing else stand there
    assert asdict(record_of(config, summary, "finished")) == without_values(record)


def test_an_error_and_its_kind_come_back(record: RunRecord) -> None:
    record.status, record.error = "diverged", {"type": "Diverged", "message": "loss is NaN"}
    record.metrics["final"] = {"train_loss": float("nan")}
    found = record_of(*told(record), "finished")
    assert (found.status, found.error) == ("diverged", record.error)
    assert found.metrics["final"]["train_loss"] is None


def test_a_run_that_was_killed_is_failed_and_says_so(record: RunRecord) -> None:
    config, _ = told(record)
    found = record_of(config, {"val_loss": 0.5, "epoch": 1}, "crashed")
    assert found.status == "failed"
    assert found.error == {"type": "Killed", "message": "no outcome; W&B calls the run crashed"}
    assert found.metrics["final"]["val_loss"] is None  # the last row is no final measure


def test_a_run_logged_before_there_were_facts_still_has_its_name(record: RunRecord) -> None:
    config, summary = told(record, {"method.x": 1})
    del config[naming.FACTS]
    found = record_of(config, summary, "finished")
    assert found.name == record.name | {"base": None}
    assert set(found.config) == set(record.config)
    assert found.metrics == record.metrics


@pytest.mark.parametrize("key", ["fingerprint", "control_hash", "method_hash", "seed"])
def test_a_run_without_its_identity_is_not_ours(record: RunRecord, key: str) -> None:
    config, _ = told(record)
    assert is_ours(config)
    assert not is_ours(config | {key: None})


def test_rows_lose_what_wandb_added_and_what_is_no_number() -> None:
    history = [
        {"_step": 0, "_runtime": 1.5, "epoch": 0, "update": 0, "val_loss": "NaN"},
        {"_step": 1, "_timestamp": 1.0},
        {"_step": 2, "update": 20, "train_loss": 0.5, "lr": None},
    ]
    assert list(rows_of(history)) == [
        {"update": 0, "epoch": 0},
        {"update": 20, "train_loss": 0.5},
    ]
