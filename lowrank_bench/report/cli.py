"""The command `lowrank-report RUNS…`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from lowrank_bench.errors import ConfigError
from lowrank_bench.report.build import report

WANDB = "wandb:"


def default_out(runs: Path) -> Path:
    """`reports/<name of the first folder>`, also for `.` and for `runs/..`."""
    return Path("reports") / (runs.resolve().name or "all")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0, or 2 after one line about what the user can mend."""
    parser = argparse.ArgumentParser(
        prog="lowrank-report",
        description="Compare training runs: a ranked table here, a page and figures in a folder. "
        "Two folders that hold the same runs are also compared pair by pair.",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        help="folders with record.json below them, or with study.json and its table; "
        "wandb:ENTITY/PROJECT imports a project",
    )
    parser.add_argument(
        "--out", type=Path, help="the report's folder (default: reports/<name of first RUNS>)"
    )
    given = parser.parse_args(arguments)
    try:
        paths = [_folder(word) for word in given.runs]
        page = report(paths, given.out or default_out(paths[0]), console=Console())
    except ConfigError as error:
        print(f"lowrank-report: {error}", file=sys.stderr)
        return 2
    print(page)
    return 0


def _folder(word: str) -> Path:
    """The folder that is meant; of a W&B project the one that it is imported to."""
    if not word.startswith(WANDB):
        return Path(word)
    from lowrank_bench.dashboard.importing import fetch

    return fetch(word.removeprefix(WANDB))
