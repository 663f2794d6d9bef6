import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from lowrank_bench.errors import ConfigError
from lowrank_bench.loggers import wandb as ours
from lowrank_bench.loggers.auto import auto_logger
from lowrank_bench.loggers.wandb import RunWandbLogger, wandb_logger
from lowrank_bench.record import RunRecord
from tests.loggers.conftest import Server


def inspect(logger: RunWandbLogger) -> dict[str, list[dict]]:
    """The run's records by type, as W&B's own reader sees them."""
    assert logger.sync_hint
    program = Path(sys.executable).with_name("wandb")
    folder = logger.sync_hint.removeprefix("wandb sync ")
    printed = subprocess.run(
        [program, "leet", "inspect", "--json", folder], check=True, capture_output=True, text=True
    ).stdout
    found: dict[str, list[dict]] = {}
    for line in printed.splitlines():
        item = json.loads(line)
        found.setdefault(item["type"], []).append(item.get(item["type"]))
    return found


def log_two_epochs(logger: RunWandbLogger) -> None:
    for epoch in (1, 2):
        logger.log_metrics({"train_loss": torch.tensor(1.0 / epoch), "lr": 0.1}, step=epoch * 10)
        logger.log_metrics({"epoch": epoch, "val_loss": 0.5 * epoch}, step=epoch * 10)


def finish(logger: RunWandbLogger, record: RunRecord) -> None:
    record.status = "finished"
    record.metrics["selected"]["val_loss"] = 0.5
    record.params["trainable"] = 42
    record.params["targets"] = ["head"]
    record.receipts = {"merge": {"ok": True}, "budget": {"ok": False}}
    logger.finalize("success")
    logger.close(record)
    logger.close(record)  # harmless


@pytest.fixture
def mute_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that accepts connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
        yield


@pytest.mark.slow
def test_an_offline_run_holds_config_curves_and_outcome(
    record: RunRecord, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logger = wandb_logger(record, tmp_path / "run")
    log_two_epochs(logger)
    finish(logger, record)
    assert not logger.fell_back
    assert capfd.readouterr() == ("", "")
    found = inspect(logger)
    (run,) = found["run"]
    assert run["run_id"] == record.fingerprint
    assert run["display_name"] == "lora-r8-lr0.001-seed3"
    assert run["run_group"] == "lora-c0ffee00-badcab1e"
    assert run["job_type"] == "train"
    assert run["tags"] == ["toy", "mlp", "lora", "rank8"]
    config = run["config"]["update"]
    assert config["method"] == {"adapter": {"alpha": 16}}
    assert (config["method_name"], config["rank"], config["seed"]) == ("lora", 8, 3)
    rows = [row["item"] for row in found["history"]]
    assert [(r["update"], r["train_loss"]) for r in rows if "train_loss" in r] == [
        (10, 1.0),
        (20, 0.5),
    ]
    assert [(r["epoch"], r["val_loss"]) for r in rows if "val_loss" in r] == [(1, 0.5), (2, 1.0)]
    axes = {m.get("name"): m.get("step_metric") for m in found["metric"]}
    facts = [part["update"] for part in found["config"] if "record" in (part.get("update") or {})]
    assert facts[0]["record"]["overrides"] == ["rank=8"]
    assert facts[-1]["record"]["targets"] == ["head"]  # not known before it was built
    assert axes["val_loss"] == "epoch"
    assert axes["train_loss"] == "update"
    outcome: dict = {}
    for part in found["summary"]:
        outcome |= part["update"]
    assert outcome["status"] == "finished"
    assert outcome["selected/val_loss"] == 0.5
    assert outcome["params/trainable"] == 42
    assert (outcome["receipts/ok"], outcome["receipts/failed"]) == (1, 1)
    assert outcome["val_loss"] == {"min": 0.5}
    assert "final/val_loss" not in outcome
    assert found["exit"][0].get("exit_code", 0) == 0


@pytest.mark.slow
def test_a_failed_run_exits_with_one(record: RunRecord, tmp_path: Path) -> None:
    logger = wandb_logger(record, tmp_path / "run")
    logger.close(record)
    assert inspect(logger)["exit"][0]["exit_code"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("server_is", ["refusing", "mute"])
def test_an_unreachable_server_costs_less_than_twenty_seconds_and_no_row(
    server_is: str,
    fake_key: None,
    record: RunRecord,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if server_is == "mute":
        request.getfixturevalue("mute_server")
    else:
        monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(ours, "_said", set())
    started = time.monotonic()
    with caplog.at_level(logging.WARNING):
        logger = wandb_logger(record, tmp_path / "run")
    assert time.monotonic() - started < 20
    assert logger.fell_back
    (said,) = [line.message for line in caplog.records if line.name == ours.__name__]
    assert said.startswith("W&B: not reachable")
    assert "\n" not in said
    log_two_epochs(logger)
    finish(logger, record)
    assert len(inspect(logger)["history"]) == 4


@pytest.mark.slow
def test_a_server_that_dies_midway_breaks_and_blocks_nothing(
    fake_key: None,
    server: ThreadingHTTPServer,
    record: RunRecord,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ours, "FINISH_TIMEOUT_S", 2.0)
    logger = wandb_logger(record, tmp_path / "run", mode="online")
    assert not logger.fell_back
    assert logger.sync_hint is None
    logger.log_metrics({"train_loss": 1.0}, step=1)
    server.shutdown()
    server.server_close()
    started = time.monotonic()
    log_two_epochs(logger)
    assert time.monotonic() - started < 1
    finish(logger, record)
    assert time.monotonic() - started < 10
    assert len(inspect(logger)["history"]) == 5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*config.yaml:pytest.PytestUnraisableExceptionWarning")
def test_a_run_of_an_agent_joins_its_sweep(
    fake_key: None,
    server: Server,
    record: RunRecord,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"ENTITY": "team", "PROJECT": "sweeps", "SWEEP_ID": "sw"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)  # as `wandb agent team/sweeps/sw` does
    monkeypatch.setenv("WANDB_RUN_ID", "chosen-by-agent")
    parameters = tmp_path / "config.yaml"  # of the sweep; W&B lets them stand before all else
    parameters.write_text("method: {value: lora}\nrank: {value: 8}\n")
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(parameters))
    logger = wandb_logger(record, tmp_path / "run", project="mine", mode="online")
    assert not logger.fell_back
    log_two_epochs(logger)
    finish(logger, record)
    asked = [about for operation, about in server.asked if operation == "UpsertBucket"]
    said = {key: asked[0].get(key) for key in ("name", "entity", "project", "sweep")}
    assert said == {
        "name": "chosen-by-agent",
        "entity": "team",
        "project": "sweeps",
        "sweep": "sw",
    }
    assert not [operation for operation, _ in server.asked if operation == "RunResumeStatus"]


def test_a_disabled_run_writes_nothing(
    record: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    logger = wandb_logger(record, tmp_path / "run")
    log_two_epochs(logger)
    finish(logger, record)
    assert list((tmp_path / "run").iterdir()) == []


def test_auto_is_silent_without_a_key_and_when_disabled(
    record: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert auto_logger(record, tmp_path) is None
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert auto_logger(record, tmp_path) is None


def test_other_ranks_begin_no_run(
    record: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours.rank_zero_only, "rank", 1)
    logger = wandb_logger(record, tmp_path / "run")
    log_two_epochs(logger)
    logger.close(record)
    assert not (tmp_path / "run").exists()


def test_a_missing_package_is_named(
    record: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"pip install lowrank-bench\[wandb\]"):
        wandb_logger(record, tmp_path)
