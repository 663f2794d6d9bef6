"""Read records and their curves into frames: one row a run, one row an epoch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from lowrank_bench.errors import ConfigError
from lowrank_bench.record import COSTS, FILE, METRICS, RunRecord, find
from lowrank_bench.report.epochs import read_curves

MOMENTS = ("before", "selected", "final")
# Of two records of one run the one that got further counts, then the newer.
PRECEDENCE = ("finished", "diverged", "interrupted", "oom", "failed")

TEXTS = (
    *("path", "status", "error_type", "error_message", "fingerprint", "control_hash"),
    *("method_hash", "method", "data", "model", "base", "overrides", "selected_rule", "device"),
)
RUNS = pl.Schema(
    {"run": pl.Int64, "seed": pl.Int64, "rank": pl.Int64, "lr": pl.Float64}
    | dict.fromkeys(TEXTS, pl.String)
    | {f"{moment}_{metric}": pl.Float64 for moment in MOMENTS for metric in METRICS}
    | {"selected_epoch": pl.Int64, "params_total": pl.Int64, "params_trainable": pl.Int64}
    | {"params_by_role": pl.String}
    | {cost: pl.Float64 for cost in COSTS if cost != "step_time_s"}
    | {"step_time_s_median": pl.Float64, "step_time_s_p95": pl.Float64}
    | {"num_failed_receipts": pl.Int64, "written": pl.Float64}
)
RECEIPTS = pl.Schema({"run": pl.Int64, "receipt": pl.String, "value": pl.String, "note": pl.String})


@dataclass(frozen=True)
class Loaded:
    """All that was read; `run` joins the frames and indexes `records`."""

    records: list[RunRecord]
    runs: pl.DataFrame
    curves: pl.DataFrame
    failed_receipts: pl.DataFrame
    notes: list[str]  # what was left out, one line each


def gather(paths: Sequence[Path]) -> Loaded:
    """Read every record below `paths` once.

    Raises: ConfigError when a folder is missing or without records, or all are corrupt.
    """
    records: list[RunRecord] = []
    rows: list[dict[str, Any]] = []
    receipts: list[dict[str, Any]] = []
    notes: list[str] = []
    for path in _record_files(paths):
        try:
            record = RunRecord.read(path)
            row = _row(record, path) | {"run": len(records)}
            failed = _failed_receipts(record, len(records))
        except (ValueError, AttributeError, TypeError, OSError) as error:
            reason = str(error).removeprefix(f"{path}: ")
            notes.append(f"skipped {path}: {' '.join(reason.split())}")
            continue
        records.append(record)
        rows.append(row | {"num_failed_receipts": len(failed)})
        receipts += failed
    if not records:
        raise ConfigError(f"no record could be read; {notes[0]} ({len(notes)} corrupt in all)")

    runs = pl.DataFrame(rows, schema=RUNS, strict=False)
    kept = _once(runs)
    if repeated := len(runs) - len(kept):
        notes.append(f"left out {repeated} older records of runs that have a newer one")
    folders = [(run, Path(path).parent) for run, path in kept.select("run", "path").rows()]
    return Loaded(
        records=records,
        runs=kept,
        curves=read_curves(folders),
        failed_receipts=pl.DataFrame(receipts, schema=RECEIPTS, strict=False).join(
            kept.select("run"), on="run", how="semi"
        ),
        notes=notes,
    )


def _record_files(paths: Sequence[Path]) -> list[Path]:
    files: dict[Path, Path] = {}
    for root in paths:
        if not root.is_dir():
            raise ConfigError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}")
        below = list(find(root))
        if not below:
            raise ConfigError(f"{root}: holds no run (looked for {FILE} in it and below it)")
        for path in below:
            files.setdefault(path.resolve(), path)
    return list(files.values())


def _row(record: RunRecord, path: Path) -> dict[str, Any]:
    if not record.control_hash or not record.method_hash:
        raise ValueError("control_hash or method_hash is empty")
    if record.status not in PRECEDENCE:
        raise ValueError(f"unknown status {record.status!r}")
    error = record.error or {}
    times = record.cost.get("step_time_s") or {}
    selected = record.metrics.get("selected") or {}
    row = {
        "path": str(path),
        "written": path.stat().st_mtime,
        "status": record.status,
        "error_type": error.get("type"),
        "error_message": error.get("message"),
        "fingerprint": record.fingerprint,
        "control_hash": record.control_hash,
        "method_hash": record.method_hash,
        "seed": record.seed,
        "overrides": " ".join(record.overrides),
        "selected_rule": selected.get("rule"),
        "selected_epoch": selected.get("epoch"),
        "device": _device(record.env),
        "params_total": record.params.get("total"),
        "params_trainable": record.params.get("trainable"),
        "params_by_role": json.dumps(record.params.get("by_role") or {}),
        "step_time_s_median": times.get("median"),
        "step_time_s_p95": times.get("p95"),
    }
    row |= {key: record.name.get(key) for key in ("method", "data", "model", "base", "rank", "lr")}
    row |= {cost: record.cost.get(cost) for cost in COSTS if cost != "step_time_s"}
    for moment in MOMENTS:
        measured = record.metrics.get(moment) or {}
        row |= {f"{moment}_{metric}": measured.get(metric) for metric in METRICS}
    return row


def _device(env: dict[str, Any]) -> str:
    """What seconds depend on; runs that differ here have no common training time."""
    said = {key: env[key] for key in sorted(env) if "device" in key or "threads" in key}
    return json.dumps(said, default=str)


def _failed_receipts(record: RunRecord, run: int) -> list[dict[str, Any]]:
    return [
        {"run": run, "receipt": name, "value": _short(receipt.get("value"))}
        | {"note": receipt.get("note")}
        for name, receipt in (record.receipts or {}).items()
        if receipt.get("ok") is False
    ]


def _short(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    text = f"{value:.4g}" if isinstance(value, float) else json.dumps(value, default=str)
    return text if len(text) <= 120 else text[:119] + "…"


def _once(runs: pl.DataFrame) -> pl.DataFrame:
    """One row for each (control, method, seed): copies would count as further seeds."""
    return (
        runs.with_columns(pl.col("status").replace_strict(PRECEDENCE, range(5)).alias("_order"))
        .sort("_order", -pl.col("written"), "run")
        .unique(["control_hash", "method_hash", "seed"], keep="first", maintain_order=True)
        .sort("run")
        .drop("_order", "written")
    )
