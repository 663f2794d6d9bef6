"""The figures of adaptation: what is in them, and when there are none."""

import re
from pathlib import Path
from typing import Any

import pytest
from synthetic_records import Write, changed

from lowrank_bench.report import report
from lowrank_bench.report.charts import figures
from lowrank_bench.report.figure import Figure
from lowrank_bench.report.images import svg
from lowrank_bench.report.label import with_labels
from lowrank_bench.report.load import gather
from lowrank_bench.report.palette import Palette
from lowrank_bench.report.section import sections


def drawn(root: Path) -> dict[str, Figure]:
    loaded = with_labels(gather([root]))
    [section] = sections(loaded)
    return {figure.name: figure for figure in figures(section, Palette.of(loaded.runs))}


@pytest.fixture
def adapted(write_run: Write) -> None:
    for seed in range(2):
        write_run(seed=seed, accuracy=0.94, source=(0.97, 0.5 + seed / 10), change=changed(40))
        for rank in (2, 8):
            kept = 0.95 - 0.01 * rank
            given: dict[str, Any] = {"source": (0.97, kept), "change": changed(rank / 2)}
            write_run(method="lora", rank=rank, seed=seed, accuracy=0.9, **given)
    write_run(method="bitfit", accuracy=0.8, source=(0.97, 0.96))


@pytest.mark.usefixtures("adapted")
def test_a_point_holds_means_and_the_range_in_both_directions(tmp_path: Path) -> None:
    points = {p["label"]: p for p in drawn(tmp_path)["forgetting"].datasets["points"]}
    assert points.keys() == {"full", "lora r2", "lora r8", "bitfit"}
    full = points["full"]
    assert (full["x"], full["y"], full["y_low"], full["y_high"]) == (94, 55, 50, 60)
    assert points["lora r2"]["size"] < points["lora r8"]["size"]


@pytest.mark.usefixtures("adapted")
def test_the_frontier_and_the_base_are_drawn(tmp_path: Path) -> None:
    datasets = drawn(tmp_path)["forgetting"].datasets
    # lora r8 learned no more than lora r2, and forgot more
    assert datasets["frontier"] == [
        {"x": 80, "y": 96},
        {"x": 90, "y": 93},
        {"x": 94, "y": 55},
    ]
    assert datasets["before"] == [{"y": 97, "text": "the base before: 97.0 %"}]


@pytest.mark.usefixtures("adapted")
def test_each_method_is_named_once(tmp_path: Path) -> None:
    figure = drawn(tmp_path)["forgetting"]
    named = [
        row["method"]
        for name, rows in figure.datasets.items()
        if name.startswith("names")
        for row in rows
    ]
    assert sorted(named) == ["bitfit", "full", "lora"]
    assert {key.label for key in figure.legend} == {"bitfit", "full", "lora"}


@pytest.mark.usefixtures("adapted")
def test_directions_are_drawn_of_what_moved(tmp_path: Path) -> None:
    datasets = drawn(tmp_path)["directions"].datasets
    assert [row["label"] for row in datasets["change_components_90"]] == ["lora r2", "lora r8"]
    [full] = datasets["change_components_90 level"]
    assert (full["label"], full["mean"], full["n"]) == ("full", 40, 2)


def test_for_losses_better_is_down_and_to_the_left(write_run: Write, tmp_path: Path) -> None:
    write_run(language=2.0, source=(0.4, 0.3))
    write_run(method="lora", rank=2, language=2.2, source=(0.4, 0.3))
    figure = drawn(tmp_path)["forgetting"]
    assert figure.caption.startswith("Better is down and to the left")
    stair = [
        layer["mark"]["interpolate"]
        for layer in figure.page_specs()[0]["layer"]
        if "interpolate" in layer["mark"]
    ]
    assert stair == ["step-after"]
    assert "Source loss after adaptation (nats a token)" in svg(figure)


def test_a_base_that_nobody_asked_before_has_no_line(write_run: Write, tmp_path: Path) -> None:
    write_run(source=(None, 0.5))
    assert "before" not in drawn(tmp_path)["forgetting"].datasets


def test_without_a_base_there_are_no_such_figures(write_run: Write, tmp_path: Path) -> None:
    write_run()
    write_run(method="lowrank", rank=2)
    assert not {"forgetting", "directions"} & drawn(tmp_path).keys()


@pytest.mark.usefixtures("adapted")
def test_the_page_tells_what_adaptation_did(tmp_path: Path) -> None:
    page = report([tmp_path / "runs"], tmp_path / "out")
    text = page.read_text()
    assert "<h3>What adaptation did to the base</h3>" in text
    for name in ("forgetting", "directions"):
        image = (page.parent / f"figures/section-1-{name}.svg").read_text()
        assert "NaN" not in image
    assert (page.parent / "layers.parquet").is_file()
    assert 'href="layers.csv"' in text
    row = next(line for line in text.split("<tr>") if "lora r8" in line and "87.0 ±" in line)
    assert "97.0 %" in row and ">10.0<" in row


def test_layers_of_an_earlier_report_do_not_stay(write_run: Write, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "layers.csv").write_text("old")
    write_run(status="failed", accuracy=None)
    page = report([tmp_path / "runs"], out)
    assert not (out / "layers.csv").exists()
    assert "layers.csv" not in page.read_text()
    assert "What adaptation did" not in page.read_text()


def test_more_methods_than_colours_keep_a_legend_of_whole_marks(
    write_run: Write, tmp_path: Path
) -> None:
    for i in range(8):
        write_run(method=f"m{i}", rank=2, accuracy=0.8 + i / 100, source=(0.9, 0.8 - i / 100))
    for name in ("forgetting", "rank"):
        image = svg(drawn(tmp_path)[name])
        marks = re.findall(r'role-legend-symbol"[^>]*>(<path[^>]*>)', image)
        assert len(marks) == 8
        assert not any("stroke-dasharray" in mark for mark in marks)
