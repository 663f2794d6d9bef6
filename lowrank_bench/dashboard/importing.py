"""Runs of a W&B project, or of folders of offline runs, back into records.

Each run becomes a folder with `record.json`, `metrics.jsonl` and `curves.parquet`, as if it had
been trained there, so that `lowrank-report` reads it like any other.
"""

import json
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from lowrank_bench.dashboard.offline import offline_runs
from lowrank_bench.dashboard.remembering import is_ours, record_of, rows_of
from lowrank_bench.dashboard.server import connect, project_of, saying
from lowrank_bench.errors import ConfigError
from lowrank_bench.loggers import naming
from lowrank_bench.loggers.curves import FILE as CURVES
from lowrank_bench.loggers.curves import write_curves
from lowrank_bench.record import write_atomically

log = logging.getLogger(__name__)

ROWS = "metrics.jsonl"
STILL = ("running", "pending")  # what W&B calls a run that may yet end
NAMED = 5  # of the runs that are skipped


class Run(Protocol):
    """What is read of `wandb.apis.public.Run`, and of an offline run."""

    @property
    def id(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def config(self) -> Mapping[str, Any]: ...
    @property
    def summary_metrics(self) -> Mapping[str, Any]: ...
    def scan_history(self) -> Iterable[Mapping[str, Any]]: ...


def fetch(spec: str) -> Path:
    """Import `entity/project` into `runs/wandb-ENTITY-PROJECT` and return that folder.

    Raises: what `import_project` raises.
    """
    into = home_of(spec)
    import_project(spec, into)
    return into


def home_of(spec: str) -> Path:
    """Where a project is imported to unless somebody says otherwise."""
    return Path("runs") / f"wandb-{'-'.join(map(_safe, project_of(spec)))}"


def import_project(spec: str, into: Path, api: Any = None) -> list[Path]:
    """Write a record below `into` for each run of ours in `entity/project`; return their files.

    What was imported before is written anew. Runs that are not ours and runs that have not ended
    are left out, and a warning says so. `api` is `wandb.Api()` unless it is given.

    Raises: ConfigError without the package or a key, for a project that W&B does not show, and
    for one without any run of ours.
    """
    entity, project = project_of(spec)
    path = f"{entity}/{project}"
    with saying(path):
        return _write_all((api or connect()).runs(path), into, path)


def import_offline(folder: Path, into: Path) -> list[Path]:
    """`import_project` for the offline runs below `folder`.

    Raises: ConfigError for a folder without offline runs, or without any run of ours.
    """
    return _write_all(offline_runs(folder), into, str(folder))


def _write_all(runs: Iterable[Run], into: Path, where: str) -> list[Path]:
    written: list[Path] = []
    foreign: list[str] = []
    unended: list[str] = []
    for run in runs:
        if not is_ours(run.config):
            foreign.append(run.id)
        elif run.state in STILL and "status" not in run.summary_metrics:
            unended.append(run.id)
        else:
            written.append(_write(run, into))
    for those, why in ((foreign, "without a fingerprint"), (unended, "still under way")):
        if those:
            more = ", …" if len(those) > NAMED else ""
            listed = ", ".join(those[:NAMED]) + more
            log.warning("%s: left out %d runs %s: %s", where, len(those), why, listed)
    if not written:
        raise ConfigError(f"{where}: no finished run of lowrank-bench there")
    return written


def _write(run: Run, into: Path) -> Path:
    record = record_of(run.config, run.summary_metrics, run.state)
    folder = into / f"{_safe(naming.title(record))}-{_safe(run.id)}"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps(row) + "\n" for row in rows_of(run.scan_history())]
    write_atomically(folder / ROWS, "".join(rows))
    write_curves(folder / ROWS, folder / CURVES)
    return record.write(folder)


def _safe(name: str) -> str:
    return re.sub(r"[^\w.+-]", "_", name)
