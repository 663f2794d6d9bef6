import json
import math
from pathlib import Path

import polars as pl
import pytest
from synthetic_records import Write

from lowrank_bench.report.label import with_labels
from lowrank_bench.report.load import gather
from lowrank_bench.report.section import Section, sections


def read(root: Path) -> list[Section]:
    return sections(with_labels(gather([root])))


def test_means_and_sds_over_seeds_are_those_computed_by_hand(
    write_run: Write, tmp_path: Path
) -> None:
    for seed, accuracy in enumerate((0.80, 0.82, 0.87)):
        write_run(seed=seed, accuracy=accuracy, curve=[0.1, accuracy / 2, accuracy])
    [section] = read(tmp_path)
    row = section.table.row(0, named=True)
    assert (row["n"], row["place"]) == (3, 1)
    assert row["mean"] == pytest.approx(0.83)
    assert row["sd"] == pytest.approx(math.sqrt((0.03**2 + 0.01**2 + 0.04**2) / 2))
    assert (row["low"], row["high"]) == (0.80, 0.87)
    middle = section.curves.filter(pl.col("epoch") == 1).row(0, named=True)
    assert middle["mean"] == pytest.approx(0.415)
    assert middle["n"] == 3


def test_one_seed_has_no_sd(write_run: Write, tmp_path: Path) -> None:
    write_run()
    [section] = read(tmp_path)
    assert section.table["sd"][0] is None


def test_diverged_runs_are_counted_and_not_averaged(write_run: Write, tmp_path: Path) -> None:
    write_run(seed=0, accuracy=0.8)
    write_run(seed=1, accuracy=0.1, status="diverged")
    write_run(seed=2, accuracy=0.2, status="interrupted")
    [section] = read(tmp_path)
    row = section.table.row(0, named=True)
    assert row["mean"] == pytest.approx(0.8)
    assert (row["n"], row["num_runs"], row["diverged"], row["unfinished"]) == (1, 3, 1, 1)
    assert section.curves["mean"].max() == pytest.approx(0.8)


def test_unequal_controls_become_sections_that_say_how_they_differ(
    write_run: Write, tmp_path: Path
) -> None:
    for control_hash, epochs in (("aa", 2), ("bb", 9)):
        control = {"data": {"name": "fashion_mnist"}, "budget": {"epochs": epochs}}
        write_run(control_hash=control_hash, control=control)
    found = sorted(read(tmp_path), key=lambda section: section.control_hash)
    assert [section.control_hash for section in found] == ["aa", "bb"]
    assert [section.table.height for section in found] == [1, 1]
    assert found[0].differing == ["budget.epochs"]
    assert found[0].heading.endswith("budget.epochs = 2")
    assert found[1].heading.endswith("budget.epochs = 9")


def test_validation_is_compared_where_no_run_has_test_data(
    write_run: Write, tmp_path: Path
) -> None:
    write_run(test=False, accuracy=0.7)
    [section] = read(tmp_path)
    assert section.metric is not None
    assert section.metric.axis == "Validation accuracy (%)"
    assert section.table["mean"][0] == pytest.approx(0.7)


def test_charts_show_the_learning_rate_that_validation_prefers(
    write_run: Write, tmp_path: Path
) -> None:
    for lr, accuracy in ((0.1, 0.6), (0.01, 0.8), (0.001, 0.7)):
        write_run(method="lowrank", rank=4, lr=lr, accuracy=accuracy)
    write_run(method="lowrank", rank=4, lr=1.0, accuracy=None, status="diverged")
    [section] = read(tmp_path)
    assert section.shown["label"].to_list() == ["lowrank r4 lr 0.01"]
    assert section.table.height == 4


def test_a_run_found_twice_is_one_seed(write_run: Write, tmp_path: Path) -> None:
    folder = write_run()
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "record.json").write_bytes((folder / "record.json").read_bytes())
    loaded = gather([tmp_path, tmp_path / "runs"])
    assert loaded.runs.height == 1
    assert "left out 1" in loaded.notes[0]


def test_training_seconds_of_unlike_devices_are_not_averaged(
    write_run: Write, tmp_path: Path
) -> None:
    write_run(seed=0, env={"device": "cpu"})
    write_run(seed=1, env={"device": "cuda"})
    [section] = read(tmp_path)
    assert section.table["train_seconds"][0] is None


def test_training_seconds_of_runs_worked_off_otherwise_are_not_averaged(
    write_run: Write, tmp_path: Path
) -> None:
    write_run(seed=0, control={"run": {"accumulate": 1, "compile": False}})
    write_run(seed=1, control={"run": {"accumulate": 1, "compile": True}})
    [section] = read(tmp_path)
    assert section.table["train_seconds"][0] is None


def test_a_resumed_epoch_counts_once_and_a_torn_line_is_skipped(
    write_run: Write, tmp_path: Path
) -> None:
    folder = write_run(curve=[0.1, 0.5])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 1, "update": 10, "test_accuracy": 0.6}\n{"epoch": 2, "upd')
    curves = gather([tmp_path]).curves
    assert curves["epoch"].to_list() == [0, 1]
    assert curves["test_accuracy"].to_list() == [0.1, 0.6]


def test_the_columnar_curve_is_preferred(write_run: Write, tmp_path: Path) -> None:
    folder = write_run(curve=[0.1, 0.5])
    frame = pl.DataFrame({"epoch": [0, 1], "update": [0, 9], "test_accuracy": [0.2, float("nan")]})
    frame.write_parquet(folder / "curves.parquet")
    assert gather([tmp_path]).curves["test_accuracy"].to_list() == [0.2, None]


def test_test_data_of_the_selected_epoch_join_its_row_and_make_no_curve(
    write_run: Write, tmp_path: Path
) -> None:
    for seed, selected in enumerate((1, 2)):
        folder = write_run(seed=seed, accuracy=0.6)
        epochs = [
            {"epoch": epoch, "update": epoch, "val_accuracy": epoch / 4, "test_accuracy": None}
            for epoch in range(3)
        ]
        late = {"epoch": selected, "update": 2, "test_accuracy": 0.6}
        rows = "".join(json.dumps(row) + "\n" for row in (*epochs, late))
        (folder / "metrics.jsonl").write_text(rows)
    curves = gather([tmp_path]).curves
    assert curves["val_accuracy"].to_list() == [0.0, 0.25, 0.5] * 2
    late = curves.drop_nulls("test_accuracy").sort("epoch")
    assert late.select("epoch", "val_accuracy").rows() == [(1, 0.25), (2, 0.5)]
    [section] = read(tmp_path)
    assert section.metric is not None
    assert section.curve_metric is not None
    assert section.metric.column == "test_accuracy"
    assert section.curve_metric.column == "val_accuracy"
