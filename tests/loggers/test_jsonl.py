import json
from pathlib import Path

import polars as pl
import pytest
import torch

from lowrank_bench.loggers import jsonl
from lowrank_bench.loggers.jsonl import JsonlLogger, cut_back, read_rows, write_curves
from lowrank_bench.record import METRICS, RunRecord


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "metrics.jsonl"


def written(path: Path, updates: int) -> JsonlLogger:
    logger = JsonlLogger(path)
    for update in range(1, updates + 1):
        logger.log_metrics({"train_loss": 1 / update}, step=update)
    logger.flush()
    return logger


def test_rows_come_back_as_logged(path: Path) -> None:
    logger = JsonlLogger(path)
    logger.log_metrics({"train_loss": torch.tensor(0.5), "lr": 1e-3}, step=7)
    logger.finalize("success")
    assert read_rows(path) == [{"update": 7, "train_loss": 0.5, "lr": 1e-3}]


def test_what_is_not_finite_becomes_null(path: Path) -> None:
    logger = JsonlLogger(path)
    logger.log_metrics({"a": float("nan"), "b": torch.tensor(float("inf"))}, step=1)
    logger.flush()
    assert json.loads(path.read_text()) == {"update": 1, "a": None, "b": None}


def test_rows_wait_until_an_epoch_row_comes(path: Path) -> None:
    logger = JsonlLogger(path)
    logger.log_metrics({"train_loss": 1.0}, step=1)
    assert not path.exists()
    logger.log_metrics({"epoch": 1, "val_loss": 1.0}, step=2)
    assert [row["update"] for row in read_rows(path)] == [1, 2]


def test_rows_wait_no_longer_than_a_few_seconds(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl, "PATIENCE_S", 0.0)
    logger = JsonlLogger(path)
    logger.log_metrics({"train_loss": 1.0}, step=1)
    assert len(read_rows(path)) == 1


def test_a_checkpoint_and_the_end_flush(path: Path, record: RunRecord) -> None:
    logger = JsonlLogger(path)
    logger.log_metrics({"train_loss": 1.0}, step=1)
    logger.after_save_checkpoint(None)
    assert len(read_rows(path)) == 1
    logger.log_metrics({"train_loss": 1.0}, step=2)
    logger.close(record)
    assert len(read_rows(path)) == 2


def test_a_second_logger_appends(path: Path) -> None:
    written(path, 2)
    written(path, 1)
    assert [row["update"] for row in read_rows(path)] == [1, 2, 1]


def test_a_torn_last_line_is_skipped_and_takes_no_row_with_it(path: Path) -> None:
    written(path, 2)
    path.write_text(path.read_text()[:-9])
    assert [row["update"] for row in read_rows(path)] == [1]
    written(path, 1)
    assert [row["update"] for row in read_rows(path)] == [1, 1]


def test_cutting_back_drops_later_rows_and_the_torn_line(path: Path) -> None:
    logger = written(path, 5)
    with path.open("a") as file:
        file.write('{"update": 6, "tra')
    cut_back(path, 3)
    assert path.read_text().count("\n") == 3
    logger.log_metrics({"train_loss": 0.0}, step=4)
    logger.flush()
    assert [row["update"] for row in read_rows(path)] == [1, 2, 3, 4]
    assert [file.name for file in path.parent.iterdir()] == ["metrics.jsonl"]


def test_no_file_holds_no_rows_and_needs_no_cutting(path: Path) -> None:
    cut_back(path, 3)
    assert read_rows(path) == []


def test_curves_hold_one_row_an_epoch_with_fixed_columns(path: Path) -> None:
    logger = written(path, 2)
    logger.log_metrics({"epoch": 1, "train_loss": 1, "lr": 0.1}, step=2)
    logger.log_metrics({"epoch": 1, "val_loss": float("nan"), "val_accuracy": 0.5}, step=2)
    logger.log_metrics({"epoch": 1, "source_perplexity": 12.5}, step=2)
    logger.log_metrics({"epoch": 2, "val_loss": 0.25, "other": 1.0}, step=4)
    table = pl.read_parquet(write_curves(path, path.with_name("curves.parquet")))
    assert table.columns == ["epoch", "update", "seconds", "lr", *METRICS]
    assert table.dtypes == [pl.Int64] * 2 + [pl.Float64] * (2 + len(METRICS))
    shown = table.select("epoch", "update", "seconds", "lr", "train_loss", "val_loss")
    assert shown.rows() == [(1, 2, None, 0.1, 1.0, None), (2, 4, None, None, None, 0.25)]
    assert table["val_accuracy"].to_list() == [0.5, None]
    assert table["source_perplexity"].to_list() == [12.5, None]
    assert table["test_loss"].null_count() == 2


def test_curves_without_epochs_are_an_empty_table(path: Path) -> None:
    written(path, 1)
    table = pl.read_parquet(write_curves(path, path.with_name("curves.parquet")))
    assert table.shape == (0, 4 + len(METRICS))
    assert table.dtypes == [pl.Int64] * 2 + [pl.Float64] * (2 + len(METRICS))
