"""A report on very many runs: everything is read and drawn, the page lists what can be read."""

import io
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console
from synthetic_records import Write

from lowrank_bench.report import drawing, epochs, images, terminal
from lowrank_bench.report import page as pages
from lowrank_bench.report.charts import figures
from lowrank_bench.report.drawing import drawn
from lowrank_bench.report.epochs import read_curves
from lowrank_bench.report.figure import Figure
from lowrank_bench.report.label import with_labels
from lowrank_bench.report.load import gather
from lowrank_bench.report.palette import Palette
from lowrank_bench.report.section import Section, sections


def read(root: Path) -> Section:
    (section,) = sections(with_labels(gather([root])))
    return section


def columnar(folder: Path, value: float, kind: type[pl.DataType] = pl.Float64) -> Path:
    told = {"epoch": [0, 1], "update": [0, 10], "test_accuracy": [0.1, value]}
    frame = pl.DataFrame(told).with_columns(pl.col("test_accuracy").cast(kind))
    frame.write_parquet(folder / "curves.parquet")
    return folder


def last(curves: pl.DataFrame) -> dict[int, float]:
    return dict(curves.filter(pl.col("epoch") == 1).select("run", "test_accuracy").rows())


# Reading


def test_many_columnar_files_are_read_at_once(
    write_run: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [columnar(write_run(seed=seed), seed / 10) for seed in range(5)]
    monkeypatch.setattr(epochs, "CHUNK", 2)
    monkeypatch.setattr(epochs, "_columnar", lambda path: pytest.fail(f"read alone: {path}"))
    found = last(read_curves(enumerate(folders)))
    assert found == pytest.approx({seed: seed / 10 for seed in range(5)})


@pytest.mark.parametrize("case", ["torn", "missing", "of another type"])
def test_one_odd_file_among_them_costs_no_other_its_curve(write_run: Write, case: str) -> None:
    folders = [columnar(write_run(seed=seed, accuracy=0.75), seed / 10) for seed in range(3)]
    odd = folders[1] / "curves.parquet"
    expected = {0: 0.0, 1: 0.75, 2: 0.2}  # of the lines, where the table is no use
    if case == "torn":
        odd.write_bytes(odd.read_bytes()[:100])
    elif case == "missing":
        odd.unlink()
    else:
        columnar(folders[1], 0.5, pl.Float32)
        expected[1] = 0.5
    assert last(read_curves(enumerate(folders))) == pytest.approx(expected)


def test_curves_belong_to_the_runs_that_were_kept(write_run: Write, tmp_path: Path) -> None:
    for seed in range(4):
        columnar(write_run(seed=seed), seed / 10)
    corrupt = sorted((tmp_path / "runs").iterdir())[0]
    (corrupt / "record.json").write_text("{")
    loaded = gather([tmp_path / "runs"])
    assert len(loaded.runs) == 3
    seeds = dict(loaded.runs.select("run", "seed").rows())
    found = last(loaded.curves)
    assert set(found) == set(seeds)
    assert found == pytest.approx({run: seed / 10 for run, seed in seeds.items()})


# Drawing


def figures_of(root: Path) -> dict[str, Figure]:
    section = read(root)
    return {each.name: each for each in figures(section, Palette.of(section.runs))}


def own_work(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the figures that this process will have drawn."""
    own: list[str] = []
    monkeypatch.setattr(drawing, "drawn", lambda specs: own.extend(specs) or drawn(specs))
    return own


def test_many_figures_are_drawn_on_both_cores_and_are_the_same(
    write_run: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank in (1, 8):
        write_run(method="lowrank", rank=rank)
    made = figures_of(tmp_path / "runs")
    named = {f"{copy}-{name}": each for copy in range(2) for name, each in made.items()}
    monkeypatch.setattr(drawing, "FEW", 1)
    monkeypatch.setattr(drawing.os, "cpu_count", lambda: 2)
    own = own_work(monkeypatch)
    with drawing.drawing() as images_drawn:
        images_drawn.begin(named)
        files = images_drawn.images()
    assert 0 < len(own) < len(named)
    assert next(iter(named)) not in own  # the other one begins there
    assert files == drawn({name: each.image_spec() for name, each in named.items()})


def test_of_few_figures_the_process_beside_draws_all(
    write_run: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(method="lowrank", rank=8)
    made = figures_of(tmp_path / "runs")
    monkeypatch.setattr(drawing.os, "cpu_count", lambda: 2)
    own = own_work(monkeypatch)
    with drawing.drawing() as images_drawn:
        images_drawn.begin(made)
        assert len(images_drawn.images()) == 2 * len(made)
    assert own == []


@pytest.mark.parametrize("broken", ["/nowhere/python", "/bin/false", None])
def test_figures_that_the_other_process_cannot_draw_are_drawn_here(
    write_run: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str | None
) -> None:
    write_run(method="lowrank", rank=8)
    made = figures_of(tmp_path / "runs")
    monkeypatch.setattr(drawing.os, "cpu_count", lambda: 1 if broken is None else 2)
    monkeypatch.setattr(drawing.sys, "executable", broken)
    with drawing.drawing() as images_drawn:
        images_drawn.begin(made)
        files = images_drawn.images()
    assert set(files) == {f"{name}.{kind}" for name in made for kind in ("svg", "png")}


def test_a_report_that_fails_leaves_neither_process_nor_folder_behind(
    write_run: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(method="lowrank", rank=8)
    made = figures_of(tmp_path / "runs")
    monkeypatch.setattr(drawing.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(drawing.tempfile, "tempdir", str(tmp_path))
    started: list[Any] = []
    popen = drawing.subprocess.Popen
    monkeypatch.setattr(
        drawing.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1]
    )
    with pytest.raises(ZeroDivisionError), drawing.drawing() as images_drawn:
        images_drawn.begin(made)
        raise ZeroDivisionError
    (process,) = started
    assert process.poll() is not None
    assert list(tmp_path.iterdir()) == [tmp_path / "runs"]


def test_the_script_is_bundled_once_for_all_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(
        images.vl_convert, "javascript_bundle", lambda *a, **k: bundled.append(1) or "vega()"
    )
    for _ in range(2):
        images.javascript.cache_clear()
        assert images.javascript() == "vega()"
    assert len(bundled) == 1
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # cannot be written
    images.javascript.cache_clear()
    assert images.javascript() == "vega()"
    images.javascript.cache_clear()


# What is listed


def test_of_very_many_runs_the_page_lists_those_that_did_not_simply_finish(
    write_run: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(4):
        write_run(seed=seed)
    write_run(seed=4, status="diverged", accuracy=None)
    write_run(seed=5, receipts={"moved": {"ok": False, "value": 0, "note": "stood still"}})
    section = read(tmp_path / "runs")
    assert len(pages.listed_runs(section)) == 6
    monkeypatch.setattr(pages, "MOST_LISTED", 5)
    assert [row["seed"] for row in pages.listed_runs(section)] == [4, 5]


def test_receipts_of_very_many_configurations_are_told_once_a_method(
    write_run: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank in (1, 2, 4):
        ok = rank != 2
        write_run(method="lora", rank=rank, receipts={"moved": {"ok": ok, "value": 1, "note": ""}})
    section = read(tmp_path / "runs")
    assert len(pages.all_receipts(section)) == 3
    monkeypatch.setattr(pages, "MOST_LISTED", 2)
    (row,) = pages.all_receipts(section)
    assert (row["label"], row["held"], row["checked"]) == ("lora", 2, 3)


def test_the_terminal_shows_the_best_of_very_many_and_says_how_many_more(
    write_run: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank in (1, 2, 4, 8):
        write_run(method="lowrank", rank=rank, accuracy=0.5 + rank / 100)
    monkeypatch.setattr(terminal, "MOST_ROWS", 2)
    console = Console(file=(told := io.StringIO()), width=100)
    terminal.show([read(tmp_path / "runs")], console)
    assert "lowrank r8" in told.getvalue()
    assert "lowrank r1 " not in told.getvalue()
    assert "2 more configurations" in told.getvalue()
