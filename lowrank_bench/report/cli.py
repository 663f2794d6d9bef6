"""The command `lowrank-report RUNS…`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from lowrank_bench.errors import ConfigError
from lowrank_bench.report.build import report


def default_out(runs: Path) -> Path:
    """`reports/<name of the first folder>`, also for `.` and for `runs/..`."""
    return Path("reports") / (runs.resolve().name or "all")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0, or 2 after one line about what the user can mend."""
    parser = argparse.ArgumentParser(
        prog="lowrank-report",
        description="Compare training runs: a ranked table here, a page and figures in a folder.",
    )
    parser.add_argument("runs", nargs="+", type=Path, help="folders with record.json below them")
    parser.add_argument(
        "--out", type=Path, help="the report's folder (default: reports/<name of first RUNS>)"
    )
    given = parser.parse_args(arguments)
    try:
        page = report(given.runs, given.out or default_out(given.runs[0]), console=Console())
    except ConfigError as error:
        print(f"lowrank-report: {error}", file=sys.stderr)
        return 2
    print(page)
    return 0
