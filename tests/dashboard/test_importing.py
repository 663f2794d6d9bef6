"""A project's runs as records, through W&B's own public client."""

import json
import logging
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lowrank_bench.dashboard import server
from lowrank_bench.dashboard.importing import fetch, import_project
from lowrank_bench.errors import ConfigError
from lowrank_bench.loggers import naming
from lowrank_bench.record import RunRecord
from lowrank_bench.report.load import gather
from tests.dashboard.fake_wandb import Api, Service, node

HISTORY = (
    {"_step": 0, "_runtime": 1, "epoch": 0, "update": 0, "val_accuracy": 0.1, "seconds": 0},
    {"_step": 1, "_runtime": 2, "update": 10, "train_loss": 0.5},
    {"_step": 2, "_runtime": 3, "epoch": 1, "update": 20, "val_accuracy": 0.9, "lr": 0.002},
)


def ours(record: RunRecord, name: str, **more: Any) -> dict[str, Any]:
    shown = naming.config(record)
    config = shown | {naming.FACTS: naming.facts(record, shown)}
    return node(name, config, naming.summary(record), **more)


@pytest.fixture
def service(record: RunRecord) -> Service:
    """Five runs, two a page: three of ours, one of them under way, and a stranger's."""
    first = ours(record, "f00dfeedf00dfeed")
    record.seed, record.fingerprint = 4, "f11dfeedf11dfeed"
    second = ours(record, "agents-own-id")
    record.seed, record.fingerprint = 5, "f22dfeedf22dfeed"
    under_way = ours(record, "later", state="running")
    under_way["summaryMetrics"] = json.dumps({"val_loss": 1.0})
    stranger = node("stranger", {"learning_rate": 0.1}, {"acc": 1})
    return Service([first, stranger, second, under_way], HISTORY)


def test_a_project_becomes_records_that_the_report_reads(
    service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        paths = import_project("team/project", tmp_path / "runs", Api(service))
    assert [path.parent.name for path in paths] == [
        "full-lr0.002-seed3-f00dfeedf00dfeed",
        "full-lr0.002-seed4-agents-own-id",
    ]
    assert [line.message for line in caplog.records] == [
        "team/project: left out 1 runs without a fingerprint: stranger",
        "team/project: left out 1 runs still under way: later",
    ]
    loaded = gather([tmp_path / "runs"])
    assert loaded.notes == []
    assert loaded.runs["seed"].to_list() == [3, 4]
    assert loaded.runs["selected_test_accuracy"].to_list() == [0.85, 0.85]
    assert loaded.runs["num_failed_receipts"].to_list() == [1, 1]
    assert loaded.runs["change_cka_target"].to_list() == [0.75, 0.75]
    curves = loaded.curves.filter(pl.col("run") == 0)
    assert curves.select("epoch", "update", "val_accuracy").rows() == [(0, 0, 0.1), (1, 20, 0.9)]


def test_every_row_of_the_history_is_kept(service: Service, tmp_path: Path) -> None:
    path, _ = import_project("team/project", tmp_path / "runs", Api(service))
    lines = (path.parent / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"update": 0, "epoch": 0, "val_accuracy": 0.1, "seconds": 0},
        {"update": 10, "train_loss": 0.5},
        {"update": 20, "epoch": 1, "val_accuracy": 0.9, "lr": 0.002},
    ]


def test_importing_again_writes_the_same_files(service: Service, tmp_path: Path) -> None:
    import_project("team/project", tmp_path / "runs", Api(service))
    before = {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*.json*")}
    import_project("team/project", tmp_path / "runs", Api(service))
    assert {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*.json*")} == before


def test_fetch_names_the_folder_after_the_project(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lowrank_bench.dashboard.importing.connect", lambda: Api(service))
    folder = fetch("wandb:team/project")
    assert folder == Path("runs/wandb-team-project")
    assert len(list(folder.glob("*/record.json"))) == 2


def test_a_project_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^team/nowhere: W&B says: Could not find project"):
        import_project("team/nowhere", tmp_path / "runs", Api(Service(None)))
    assert not (tmp_path / "runs").exists()


def test_a_project_without_any_run_of_ours_is_refused(tmp_path: Path) -> None:
    strangers = Service([node("stranger", {"a": 1}, {})])
    with pytest.raises(ConfigError, match="team/project: no finished run of lowrank-bench there"):
        import_project("team/project", tmp_path / "runs", Api(strangers))


def test_without_a_key_nobody_is_asked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="W&B has no key; `wandb login` first"):
        import_project("team/project", tmp_path / "runs")


@pytest.mark.parametrize("spec", ["project", "a/b/c", "team/", "wandb:project", ""])
def test_a_project_needs_its_two_names(spec: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ENTITY/PROJECT"):
        import_project(spec, tmp_path, Api(Service([])))


@pytest.mark.slow
def test_a_server_that_refuses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef0123456789abcdef01234567")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(server, "TIMEOUT_S", 2)
    with pytest.raises(ConfigError, match=r"^team/project: W&B says: ") as caught:
        import_project("team/project", tmp_path / "runs")
    assert "\n" not in str(caught.value)
