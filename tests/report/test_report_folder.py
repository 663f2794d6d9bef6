import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from synthetic_records import Write, write

from lowrank_bench.report import report
from lowrank_bench.report.cli import main

EVIL = "</script><script>alert(1)</script> 😀 [bold]x[/bold]"


class Elements(HTMLParser):
    """The tags with their attributes, and the script that holds the charts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.charts = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][1].get("id") == "charts" and not self.charts:
            self.charts = data


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("study")
    for seed in range(2):
        write(root, seed=seed, accuracy=0.84 + 0.01 * seed)
        for rank in (1, 2, 4, 8, 16, 32, 64):
            accuracy = 0.7 + 0.02 * rank**0.5 + 0.005 * seed
            write(root, method="lowrank", rank=rank, seed=seed, accuracy=accuracy)
    write(root, method="lowrank", rank=64, seed=2, accuracy=None, status="diverged")
    receipts = {
        "moved": {"ok": False, "value": 0.0, "note": "role lora_B stood still"},
        "merges": {"ok": True, "value": {"a": 1e-7, "b": 0.25}, "note": ""},
        "scale": {"ok": None, "value": 2.0, "note": "alpha / r"},
    }
    write(root, method=EVIL, rank=2, accuracy=0.5, receipts=receipts)
    other = {"data": {"name": EVIL}, "budget": {"epochs": 2}}
    error = {"type": "RuntimeError", "message": EVIL}
    write(root, control=other, control_hash="bad", status="failed", accuracy=None, error=error)
    return report([root], root / "out")


def test_text_from_records_is_shown_as_text(page: Path) -> None:
    text = page.read_text()
    elements = Elements(text)
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; 😀" in text
    assert sum(tag == "script" for tag, _ in elements.tags) == 3
    charts = json.loads(elements.charts)
    assert any(EVIL in json.dumps(rows, ensure_ascii=False) for rows in charts["datasets"].values())


def test_the_page_fetches_nothing(page: Path) -> None:
    elements = Elements(page.read_text())
    for tag, attributes in elements.tags:
        assert tag not in ("link", "img", "iframe", "base")
        assert "src" not in attributes
        assert "//" not in (attributes.get("href") or "")
    policies = [a["content"] for _, a in elements.tags if "http-equiv" in a]
    assert len(policies) == 1
    assert (policies[0] or "").startswith("default-src 'none'")


def test_links_of_the_page_lead_to_files(page: Path) -> None:
    hrefs = [a["href"] for tag, a in Elements(page.read_text()).tags if tag == "a"]
    files = [href for href in hrefs if href and not href.startswith("#")]
    assert len(files) >= 5
    assert all((page.parent / href).is_file() for href in files)


def test_figures_are_written_as_png_and_svg(page: Path) -> None:
    for name in ("rank", "parameters", "curves"):
        png = (page.parent / f"figures/section-1-{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        assert len(png) > 10_000
        svg = (page.parent / f"figures/section-1-{name}.svg").read_text()
        assert svg.startswith("<svg")
        assert "NaN" not in svg


def test_tables_hold_one_row_a_run_and_one_a_configuration(page: Path) -> None:
    runs = pl.read_parquet(page.parent / "runs.parquet")
    assert runs.height == 19
    wanted = {"fingerprint", "label", "status", "selected_test_accuracy", "params_trainable"}
    assert wanted <= set(runs.columns)
    assert pl.read_csv(page.parent / "runs.csv").height == 19
    assert pl.read_csv(page.parent / "table.csv")["n"].sum() == 17
    curves = pl.read_parquet(page.parent / "curves.parquet")
    assert curves.height == 17 * 3
    assert curves["fingerprint"].is_not_null().all()


def test_a_section_of_failed_runs_alone_shows_their_status(page: Path) -> None:
    text = page.read_text()
    assert "Nothing to compare" in text
    assert '<span class="chip failed">failed</span>' in text
    assert not list(page.parent.glob("figures/section-2-*"))


def test_diverged_runs_and_failed_receipts_are_visible(page: Path) -> None:
    text = page.read_text()
    assert "lowrank r64 (1 of 3 diverged)" in text
    assert "×1" in text
    assert "role lora_B stood still" in text


def test_every_receipt_is_listed_with_whether_it_held(page: Path) -> None:
    text = page.read_text()
    assert "Receipts: 2 checks that the methods really acted" in text
    assert '<span class="red">0 of 1</span>' in text  # moved
    assert "1e-07 to 0.25 (2)" in text  # merges, over the layers
    assert '<span class="quiet">informs</span>' in text  # scale


def test_figures_of_an_earlier_report_do_not_stay(write_run: Write, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "figures").mkdir(parents=True)
    (out / "figures" / "section-9-rank.png").write_bytes(b"old")
    (out / "figures" / "mine.png").write_bytes(b"kept")
    write_run(status="failed", accuracy=None)
    report([tmp_path / "runs"], out)
    assert [path.name for path in (out / "figures").iterdir()] == ["mine.png"]


def test_the_report_never_loads_torch() -> None:
    code = (
        "import sys, lowrank_bench.report.cli\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "assert not loaded & {'torch', 'lightning', 'pytorch_lightning'}, 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_prints_the_table_and_the_path_of_the_page(
    write_run: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_run(status="failed", accuracy=None, method="[red]full[/red]")
    monkeypatch.chdir(tmp_path)
    assert main(["runs"]) == 0
    output = capsys.readouterr().out
    assert "[red]full[/red]" in output
    assert output.splitlines()[-1] == "reports/runs/index.html"
    assert (tmp_path / "reports/runs/index.html").is_file()


def test_a_corrupt_record_among_others_is_skipped_and_named(
    write_run: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(status="failed", accuracy=None)
    torn = tmp_path / "runs" / "torn"
    torn.mkdir()
    (torn / "record.json").write_text('{"schema": 1, "status": ')
    strange = json.loads(next((tmp_path / "runs").glob("*/record.json")).read_text())
    (tmp_path / "runs" / "strange").mkdir()
    strange = json.dumps(strange | {"metrics": 3})
    (tmp_path / "runs" / "strange" / "record.json").write_text(strange)
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        f"skipped {tmp_path}/runs/strange/record.json",
        f"skipped {torn}/record.json",
    ]


@pytest.mark.parametrize("case", ["missing", "empty", "all corrupt", "a file in the way"])
def test_a_mistake_is_one_line_and_writes_nothing(
    case: str, write_run: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, out = tmp_path / "runs", tmp_path / "out"
    if case != "missing":
        runs.mkdir()
    if case == "all corrupt":
        (runs / "record.json").write_text("{")
    if case == "a file in the way":
        write_run()
        out.write_text("mine")
        out = out / "below"
    before = sorted(tmp_path.rglob("*"))
    assert main([str(runs), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("lowrank-report: ")
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
