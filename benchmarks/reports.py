"""The report, and what a sweep looks up at its start, over many runs.

The runs are copies of one that was trained, varied: see many_records.py. 2 cores: 3 minutes.
"""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.commands import bench, finish
from benchmarks.many_records import spread
from benchmarks.measure import Arm, Verdict, between, interleaved, middle, of, table
from lowrank_bench.identity import Identity
from lowrank_bench.store import Store

TARGET = 10.0  # seconds for the report on the most runs
LINEAR = 1.2  # times as many runs as before may take this much more than as many times as long


def measure(quick: bool) -> dict[str, Any]:
    counts = (5, 20) if quick else (10, 100, 1000, 10_000)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        epochs = 1 if quick else 10
        finish(bench("data=digits", f"epochs={epochs}", f"run.dir={root}/one"))
        (run,) = (path.parent for path in root.glob("one/*/record.json"))
        arms: dict[str, Arm] = {}
        for count in counts:
            folder = root / f"{count} runs"
            identities = [
                Identity(record["fingerprint"], "", "", record["seed"], record["name"])
                for record in spread(run, folder, count)
            ]
            # first, else the system would still have to write what was made
            arms[f"report {count}"] = partial(_report, count, folder, root / f"report {count}")
            arms[f"scan {count}"] = partial(_scan, folder, identities)
        rounds = interleaved(arms, 1 if quick else 3)
    return {"counts": list(counts), "epochs": epochs, "rounds": rounds}


def _report(count: int, folder: Path, out: Path) -> dict[str, float]:
    ended = finish(["-m", "lowrank_bench.report", str(folder), "--out", str(out)])
    page = (out / "index.html").stat().st_size
    return {
        f"report {count}": ended.seconds,
        f"report {count}: GiB": ended.peak_bytes / 2**30,
        f"report {count}: page MiB": page / 2**20,
    }


def _scan(folder: Path, identities: Sequence[Identity]) -> float:
    """What a sweep does to know which of its runs are there."""
    started = perf_counter()
    assert all(Store(folder).record(identity) is not None for identity in identities)
    return perf_counter() - started


def _growth(found: dict[str, Any], what: str) -> float:
    """Of the last step: how many times as long, over how many times as many runs."""
    fewer, more = found["counts"][-2:]
    seconds = [median(of(found["rounds"], f"{what} {count}")) for count in (fewer, more)]
    return seconds[1] / seconds[0] / (more / fewer)


def verdicts(found: dict[str, Any]) -> list[Verdict]:
    most = found["counts"][-1]
    seconds = median(of(found["rounds"], f"report {most}"))
    what = f"`lowrank-report` on {most:,} runs"
    told = [Verdict(what, f"under {TARGET:g} s", f"{seconds:.1f} s", seconds < TARGET)]
    for what, name in (("report", "the report's time"), ("scan", "the scan's time")):
        growth = _growth(found, what)
        target = f"at most {LINEAR:g}× that of the runs"
        told.append(Verdict(f"growth of {name}", target, f"{growth:.2f}×", growth <= LINEAR))
    return told


def section(found: dict[str, Any]) -> str:
    rounds, rows = found["rounds"], []
    for count in found["counts"]:
        report, scan = (of(rounds, f"{what} {count}") for what in ("report", "scan"))
        size = max(of(rounds, f"report {count}: page MiB"))
        memory = max(of(rounds, f"report {count}: GiB"))
        each = f"{median(scan) / count * 1e3:.2f}"
        rows.append(
            (f"{count:,}", middle(report), between(report), f"{memory:.2f}", f"{size:.1f}", each)
        )
    head = ("runs", "report, s", "lowest–highest", "GiB", "page, MiB", "scan, ms a run")
    return f"""
The report is the whole command: every record and curve read, tables, figures as SVG and PNG, CSV
and Parquet, the page. The runs are copies of one that was trained (epochs: {found["epochs"]}),
varied: 10 methods × 5 ranks × 5 learning rates × 10 seeds are 2,500 runs of one control, further
ones are of further controls, each with a section and three figures. The scan is what a sweep
does at its start to know which of its runs are finished: find the folder of a fingerprint and
read its record. {len(rounds)} rounds.

{table(head, rows)}
What made the difference:

- Curves are read two hundred files at once; one torn or old file among them sends those two
  hundred the slow way, one by one.
- Epochs are merged only where one has several rows.
- Python's collector is off while records are read: it would look through all of them again and
  again.
- Charts are put together as Vega-Lite's JSON; Altair's `layer` and `concat` copy all that they
  hold.
- Bands are drawn by the opacity of their fill; an opacity of the whole costs a layer of the
  image each.
- Vega's script, bundled in 3 s, is kept in the cache of the user for the next report. Without it
  the first report takes that much longer.
- A page that nobody can read is no use: beyond 300 runs a section lists those that did not
  simply finish, beyond 300 lines of receipts it has one a method; the terminal's table has the
  best 50 configurations. All runs are in `runs.csv`, all configurations in `table.csv` and in
  the page.
- The folders of a sweep are listed once, not once a run.
"""
