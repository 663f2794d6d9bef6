"""Runs that W&B wrote to disk, read by its own reader, `wandb leet inspect`."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lowrank_bench.errors import ConfigError

FOLDERS = "offline-run-*"
INSPECT = ("-m", "wandb", "leet", "inspect", "--json")


@dataclass
class OfflineRun:
    """What `wandb.apis.public.Run` would say of the run, had it been uploaded."""

    id: str
    config: dict[str, Any] = field(default_factory=dict)
    summary_metrics: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    state: str = "crashed"  # as W&B calls a run that ended without a word

    def scan_history(self) -> Iterable[Mapping[str, Any]]:
        return self.history


def offline_runs(folder: Path) -> list[OfflineRun]:
    """The offline runs below `folder`, oldest first; a resumed run's parts are one run.

    Raises: ConfigError when there is none, or when W&B cannot read one.
    """
    parts = sorted(folder.rglob(FOLDERS), key=lambda path: path.name)
    parts = [path for path in parts if any(path.glob("*.wandb"))]
    if not parts:
        raise ConfigError(f"{folder}: no offline run of W&B below it (looked for {FOLDERS})")
    found: dict[str, OfflineRun] = {}
    for part in parts:
        read = _read(part)
        if read is not None:
            known = found.setdefault(read.id, read)
            if known is not read:
                _go_on(known, read)
    return list(found.values())


def _read(part: Path) -> OfflineRun | None:
    """One folder's run; None where W&B was killed before it had written what run it is."""
    run: OfflineRun | None = None
    for item in _items(part):
        kind = item["type"]
        content = item.get(kind) or {}
        if kind == "run" and run is None:
            run = OfflineRun(content["run_id"])
            run.config |= _update(content.get("config"))
        elif run is None:
            continue
        elif kind == "config":
            run.config |= _update(content)
        elif kind == "summary":
            run.summary_metrics |= _update(content)
        elif kind == "history":
            run.history.append(content.get("item") or {})
        elif kind == "exit":
            run.state = "failed" if content.get("exit_code") else "finished"
    return run


def _go_on(run: OfflineRun, later: OfflineRun) -> None:
    run.config |= later.config
    run.summary_metrics |= later.summary_metrics
    run.history += later.history
    run.state = later.state


def _update(content: Mapping[str, Any] | None) -> dict[str, Any]:
    return (content or {}).get("update") or {}


def _items(part: Path) -> Iterator[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, *INSPECT, str(part)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise ConfigError(f"{part}: W&B cannot read it: {said}")
    for line in done.stdout.splitlines():
        yield json.loads(line)
