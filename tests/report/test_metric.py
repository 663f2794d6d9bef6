"""What is compared where language models are, and how the terminal tells it."""

import json
import math
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console
from synthetic_records import Write

from lowrank_bench.report import findings
from lowrank_bench.report.label import with_labels
from lowrank_bench.report.load import gather
from lowrank_bench.report.metric import CANDIDATES, Metric
from lowrank_bench.report.section import Section, sections
from lowrank_bench.report.terminal import show


def only_section(root: Path) -> Section:
    [section] = sections(with_labels(gather([root])))
    return section


def test_language_models_are_compared_by_loss_though_they_have_an_accuracy(
    write_run: Write, tmp_path: Path
) -> None:
    write_run(language=2.5)
    write_run(method="lora", rank=4, language=2.0)
    section = only_section(tmp_path)
    assert section.metric is not None and section.curve_metric is not None
    assert section.metric.axis == "Test loss (nats a token)"
    assert section.curve_metric.column == "val_loss"
    assert section.table["label"].to_list() == ["lora r4", "full"]
    best = section.table.row(0, named=True)
    assert (best["mean"], best["perplexity"]) == (2.0, pytest.approx(math.exp(2)))
    assert best["bits_per_byte"] == pytest.approx(2 / math.log(2) / 4)
    assert findings.headline(section) == (
        "lora r4 leads at 2.0000 test loss after 2 epochs; full reaches 2.5000 (one seed each)"
    )


def test_their_learning_rate_is_chosen_by_validation_loss(write_run: Write, tmp_path: Path) -> None:
    for lr, loss in ((0.1, 3.0), (0.01, 2.0), (0.001, 2.5)):
        write_run(lr=lr, language=loss)
    assert only_section(tmp_path).shown["lr"].to_list() == [0.01]


def test_validation_loss_stands_in_where_there_are_no_test_data(
    write_run: Write, tmp_path: Path
) -> None:
    write_run(language=2.5, test=False)
    metric = only_section(tmp_path).metric
    assert metric is not None
    assert metric.axis == "Validation loss (nats a token)"


def test_a_classifier_on_a_base_of_language_is_compared_by_accuracy(
    write_run: Write, tmp_path: Path
) -> None:
    folder = write_run(source=(0.9, 0.8))
    path = folder / "record.json"
    record = json.loads(path.read_text())
    record["metrics"]["selected"]["source_perplexity"] = 2.5
    path.write_text(json.dumps(record))
    section = only_section(tmp_path)
    assert section.metric == CANDIDATES[0]
    assert section.source_metric is not None
    assert section.source_metric.axis == "Source loss (nats a token)"


@pytest.mark.parametrize("language", [None, 2.5])
def test_the_terminal_shows_what_belongs_to_the_task(
    write_run: Write, tmp_path: Path, language: float | None
) -> None:
    write_run(language=language)
    console = Console(width=80, record=True, file=StringIO())
    show([only_section(tmp_path)], console)
    text = console.export_text()
    assert ("ppl" in text, "12.18" in text) == (language is not None,) * 2
    assert ("0.4600" in text) == (language is None)  # the loss beside an accuracy


def test_the_terminal_shows_what_was_forgotten_in_eighty_columns(
    write_run: Write, tmp_path: Path
) -> None:
    write_run(method="lora_plus", rank=32, accuracy=0.912, source=(0.97, 0.8))
    console = Console(width=80, record=True, file=StringIO())
    show([only_section(tmp_path)], console)
    [line] = [each for each in console.export_text().splitlines() if "lora_plus r32  " in each]
    assert line.split() == ["1", "lora_plus", "r32", "1", "91.2", "%", "80.0", "%", "17.0", "1,000"]


def test_differences_have_no_sign_where_they_are_nothing() -> None:
    accuracy, loss = CANDIDATES[0], Metric("test_loss", "Test loss", False, higher_is_better=False)
    assert accuracy.difference(0.1234) == "12.3"
    assert accuracy.difference(-0.0001) == "0.0"
    assert loss.difference(-0.25) == "-0.2500"
    assert loss.difference(None) == "–"


def test_the_frame_of_runs_keeps_every_part_of_language(write_run: Write, tmp_path: Path) -> None:
    write_run(language=2.5, source=(0.4, 0.3))
    runs = gather([tmp_path]).runs
    row = runs.select(pl.col("^selected_.*_perplexity$")).row(0, named=True)
    assert len(row) == 3
    assert all(value == pytest.approx(math.exp(2.5)) for value in row.values())
