"""Offline runs, written by our logger and read back as records."""

import logging
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import polars as pl
import pytest

from lowrank_bench.dashboard.cli import main
from lowrank_bench.dashboard.importing import import_offline
from lowrank_bench.loggers.wandb import wandb_logger
from lowrank_bench.record import RunRecord
from tests.dashboard.test_remembering import without_values

ROWS = ((0, 0, 0.1), (1, 20, 0.9))  # (epoch, update, val_accuracy)


def logged(record: RunRecord, folder: Path, rows: tuple = ROWS) -> None:
    logger = wandb_logger(record, folder)
    for epoch, update, accuracy in rows:
        logger.log_metrics({"epoch": epoch, "val_accuracy": accuracy}, step=update)
    logger.close(record)


@pytest.mark.slow
def test_an_offline_run_comes_back_as_it_was(record: RunRecord, tmp_path: Path) -> None:
    logged(record, tmp_path / "run")
    (path,) = import_offline(tmp_path / "run", tmp_path / "back")
    assert asdict(RunRecord.read(path)) == without_values(record)
    curves = pl.read_parquet(path.with_name("curves.parquet"))
    assert tuple(curves.select("epoch", "update", "val_accuracy").rows()) == ROWS


@pytest.mark.slow
def test_the_parts_of_a_resumed_run_are_one(
    record: RunRecord, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = wandb_logger(record, tmp_path / "run")
    run.log_metrics({"epoch": 0, "val_accuracy": 0.1}, step=0)
    run.experiment.finish(exit_code=1)  # stopped before it had an outcome
    logged(record, tmp_path / "run", ROWS[1:])
    assert main(["read", str(tmp_path / "run"), "--into", str(tmp_path / "back")]) == 0
    (path,) = (tmp_path / "back").glob("*/record.json")
    assert RunRecord.read(path).status == "finished"
    curves = pl.read_parquet(path.with_name("curves.parquet"))
    assert curves["epoch"].to_list() == [0, 1]
    assert [line for line in caplog.records if line.levelno >= logging.WARNING] == []


STRANGER = """
import wandb
with wandb.init(mode="offline", dir=".", config={"a": 1}, settings=wandb.Settings(silent=True)):
    wandb.log({"loss": 1})
"""


@pytest.mark.slow
def test_a_strangers_run_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run([sys.executable, "-c", STRANGER], cwd=tmp_path, check=True)
    assert main(["read", str(tmp_path), "--into", str(tmp_path / "back")]) == 2
    assert "no finished run of lowrank-bench there" in capsys.readouterr().err
    assert not (tmp_path / "back").exists()


def test_a_folder_without_offline_runs_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["read", str(tmp_path), "--into", str(tmp_path / "back")]) == 2
    assert capsys.readouterr().err == (
        f"lowrank-wandb: {tmp_path}: no offline run of W&B below it (looked for offline-run-*)\n"
    )


@pytest.mark.slow
def test_a_torn_file_is_one_line(
    record: RunRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = tmp_path / "wandb" / "offline-run-20260101_000000-x"
    torn.mkdir(parents=True)
    (torn / "run-x.wandb").write_bytes(b"no such format")
    assert main(["read", str(tmp_path), "--into", str(tmp_path / "back")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{torn}: W&B cannot read it: " in line
