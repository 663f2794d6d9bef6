"""The page of ten thousand runs: how long it takes to make and to open."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple

import polars as pl
import pytest
from browser import Page, chromium, needs_chromium
from selenium.webdriver import Chrome
from synthetic_records import write

from benchmarks.many_records import spread
from lowrank_bench.report.images import javascript

pytestmark = pytest.mark.slow

RUNS = 10_000
BUILT, OPENED = 10.0, 3.0  # seconds
CORES = 2


class Made(NamedTuple):
    page: Path
    seconds: float
    cpu_seconds: float  # of all its processes
    parsing: float  # CPU seconds that the records' JSON alone takes, at the same time


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("many")
    spread(_one(root), root / "runs", RUNS)
    javascript()  # bundled once for all reports of a user
    command = ["-m", "lowrank_bench.report", str(root / "runs"), "--out", str(root / "out")]
    parsing = [_parsing(root / "runs")]
    started = perf_counter()
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)  # with all processes of its own
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    seconds = perf_counter() - started
    parsing.append(_parsing(root / "runs"))
    made = Made(
        page=root / "out/index.html",
        seconds=seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        parsing=sum(parsing) / 2,
    )
    print(made)
    return made


def _parsing(runs: Path) -> float:
    texts = [path.read_text() for path in runs.glob("*/record.json")]
    assert len(texts) == RUNS
    started = process_time()
    for text in texts:
        json.loads(text)
    return process_time() - started


def _one(root: Path) -> Path:
    """A run with as much in its record as a short training leaves."""
    receipts = {
        f"receipt_{i}": {
            "ok": True,
            "value": {f"hidden.{k}": 0.5 for k in range(3)},
            "note": "held",
        }
        for i in range(8)
    }
    method = {"method": {f"setting_{i}": {"_target_": "a.b", "value": 1e-4 * i} for i in range(50)}}
    versions = {f"package_{i}": "1.2.3" for i in range(12)}
    run = write(
        root,
        method="lora",
        rank=8,
        accuracy=0.8,
        curve=[0.1 + 0.07 * epoch for epoch in range(11)],
        control={"data": {"name": "digits"}, "budget": {"epochs": 10, "batch_size": 64}} | method,
        receipts=receipts,
        env={"versions": versions, "device": "cpu", "threads": 2},
    )
    epochs = {"epoch": range(11), "update": range(0, 110, 10)}
    values = {name: [0.1 * epoch for epoch in range(11)] for name in ("test_accuracy", "val_loss")}
    pl.DataFrame(epochs | values).write_parquet(run / "curves.parquet")
    for name in ("config.yaml", "made_with.json"):
        (run / name).write_text("{}")
    return run


@pytest.fixture(scope="module")
def driver() -> Iterator[Chrome]:
    with chromium() as started:
        yield started


def test_the_report_is_made_in_ten_seconds_of_two_cores(made: Made) -> None:
    """By the clock; where others keep the machine busy, by the work that was done.

    Cores that are shared are slower, too: then a second is what parsing the records takes, which
    is about a second of a core that has nothing else to do.
    """
    assert made.seconds < BUILT or made.cpu_seconds < CORES * BUILT * made.parsing, made


@needs_chromium
def test_the_page_opens_in_three_seconds(made: Made, driver: Chrome) -> None:
    """From the navigation's start to the first chart drawn, the least of three; where others keep
    the machine busy, what the page's own thread has worked until then.
    """
    opened, worked = [], []
    driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    for _ in range(3):
        page = Page(driver, made.page)
        mark = "performance.getEntriesByName('first chart')[0]?.startTime"
        opened.append(page.wait(mark) / 1000)
        metrics = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        worked.append({each["name"]: each["value"] for each in metrics}["TaskDuration"])
        assert page.errors() == []
    print(opened, worked)
    assert min(worked) > 0.05  # it was measured
    assert min(opened) < OPENED or min(worked) < OPENED, (opened, worked)


@needs_chromium
def test_the_page_of_all_runs_stays_light(made: Made, driver: Chrome) -> None:
    page = Page(driver, made.page)
    assert page.js("return document.querySelectorAll('*').length") < 20_000
    page.wait("drawn.size && !isDrawing")
    assert page.js("return drawn.size") < page.js("return places.length") / 2
    assert made.page.stat().st_size < 4 * 2**20


@needs_chromium
def test_filters_answer_at_once(made: Made, driver: Chrome) -> None:
    page = Page(driver, made.page)
    before = page.js("return shown.textContent")
    assert before == "1,000 of 1,000 configurations"
    took = page.js(
        "return [1, 2, 3, 4, 5].map(() => {"
        "  const started = performance.now();"
        "  boxes('method')[0].click();"
        "  document.body.offsetHeight;"
        "  return performance.now() - started; })"
    )
    assert page.js("return shown.textContent").startswith("900 of 1,000")
    assert min(took) < 500, took
