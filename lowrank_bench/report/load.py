"""Read records and their curves into frames: one row a run, one row an epoch."""

import gc
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from lowrank_bench.errors import ConfigError
from lowrank_bench.record import COSTS, FILE, METRICS, RunRecord, find
from lowrank_bench.report.adaptation import CHANGES, FEATURES, SUMMARY
from lowrank_bench.report.epochs import CURVES, read_curves

MOMENTS = ("before", "selected", "final")
MEASURED = {moment: [(f"{moment}_{metric}", metric) for metric in METRICS] for moment in MOMENTS}
# Of two records of one run the one that got further counts, then the newer.
PRECEDENCE = ("finished", "diverged", "interrupted", "oom", "failed")

LAYER_MEASURES = (*SUMMARY, "start_norm", "full_rank")
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
    | dict.fromkeys(CHANGES, pl.Float64)
    | {"num_failed_receipts": pl.Int64, "written": pl.Float64}
)
LAYERS = pl.Schema(
    {"run": pl.Int64, "layer": pl.String} | dict.fromkeys(LAYER_MEASURES, pl.Float64)
)
RECEIPTS = pl.Schema(
    {"run": pl.Int64, "ok": pl.Boolean} | dict.fromkeys(("receipt", "value", "note"), pl.String)
)


@dataclass(frozen=True)
class Loaded:
    """All that was read; `run` joins the frames and indexes `records`."""

    records: list[RunRecord]
    runs: pl.DataFrame
    curves: pl.DataFrame
    receipts: pl.DataFrame  # `ok` is null where a receipt only informs
    layers: pl.DataFrame  # how far each layer moved from its base; one row a run and layer
    notes: list[str]  # what was left out, one line each


def gather(paths: Sequence[Path]) -> Loaded:
    """Read every record below `paths` once.

    Raises: ConfigError when a folder is missing or without records, or all are corrupt.
    """
    records: list[RunRecord] = []
    rows: list[dict[str, Any]] = []
    receipts: list[dict[str, Any]] = []
    layers: list[dict[str, Any]] = []
    notes: list[str] = []
    of_file: dict[int, int] = {}  # {index of a file: that of its record}
    files = _record_files(paths)
    with ThreadPoolExecutor(1) as beside, uncollected():
        # polars reads without Python's lock, while Python reads the records
        curves = beside.submit(read_curves, [(i, path.parent) for i, path in enumerate(files)])
        for index, path in enumerate(files):
            try:
                record = RunRecord.read(path)
                row = _row(record, path) | {"run": len(records)}
                found = _receipts(record, len(records))
                moved = _layers(record, len(records))
            except (ValueError, AttributeError, TypeError, OSError) as error:
                reason = str(error).removeprefix(f"{path}: ")
                notes.append(f"skipped {path}: {' '.join(reason.split())}")
                continue
            of_file[index] = len(records)
            records.append(record)
            rows.append(row | {"num_failed_receipts": sum(r["ok"] is False for r in found)})
            receipts += found
            layers += moved
    if not records:
        raise ConfigError(f"no record could be read; {notes[0]} ({len(notes)} corrupt in all)")

    runs = pl.DataFrame(rows, schema=RUNS, strict=False)
    kept = _once(runs)
    if repeated := len(runs) - len(kept):
        notes.append(f"left out {repeated} older records of runs that have a newer one")
    return Loaded(
        records=records,
        runs=kept,
        curves=_of_runs(curves.result(), of_file, kept),
        receipts=pl.DataFrame(receipts, schema=RECEIPTS, strict=False).join(
            kept.select("run"), on="run", how="semi"
        ),
        layers=pl.DataFrame(layers, schema=LAYERS, strict=False).join(
            kept.select("run"), on="run", how="semi"
        ),
        notes=notes,
    )


def nothing() -> Loaded:
    """No record at all."""
    frames = (pl.DataFrame(schema=each) for each in (RUNS, CURVES, RECEIPTS, LAYERS))
    runs, curves, receipts, layers = frames
    return Loaded([], runs, curves, receipts, layers, notes=[])


def _of_runs(curves: pl.DataFrame, of_file: dict[int, int], kept: pl.DataFrame) -> pl.DataFrame:
    """The curves of what was kept, by the number of the run instead of the file's."""
    numbers = pl.DataFrame(
        {"run": [*of_file], "_run": [*of_file.values()]},
        schema=dict.fromkeys(("run", "_run"), pl.Int64),
    ).join(kept.select(pl.col("run").alias("_run")), on="_run", how="semi")
    return (
        curves.join(numbers, on="run")
        .with_columns(pl.col("_run").alias("run"))
        .select(curves.columns)
        .sort("run", "epoch")
    )


@contextmanager
def uncollected() -> Iterator[None]:
    """Without Python's collector, which would look through all records read so far, again and
    again, for cycles that JSON has none of.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _record_files(paths: Sequence[Path]) -> list[Path]:
    files: dict[Path, Path] = {}
    for root in paths:
        if not root.is_dir():
            raise ConfigError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}")
        below = list(find(root))
        if not below:
            raise ConfigError(f"{root}: holds no run (looked for {FILE} in it and below it)")
        real = root.resolve()  # once: to ask it of each file takes six calls a file
        for path in below:
            files.setdefault(real / path.relative_to(root), path)
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
        "device": _device(record),
        "params_total": record.params.get("total"),
        "params_trainable": record.params.get("trainable"),
        "params_by_role": json.dumps(record.params.get("by_role") or {}),
        "step_time_s_median": times.get("median"),
        "step_time_s_p95": times.get("p95"),
    }
    row |= {key: record.name.get(key) for key in ("method", "data", "model", "base", "rank", "lr")}
    row |= {cost: record.cost.get(cost) for cost in COSTS if cost != "step_time_s"}
    for moment, columns in MEASURED.items():
        measured = record.metrics.get(moment) or {}
        row |= {column: measured.get(metric) for column, metric in columns}
    return row | _change(record.change)


def _change(change: dict[str, Any]) -> dict[str, Any]:
    """What adaptation did, as columns; null where there was no base."""
    summary, features = change.get("summary") or {}, change.get("features") or {}
    return (
        {f"change_{name}": summary.get(name) for name in SUMMARY}
        | {f"change_cka_{name}": features.get(name) for name in FEATURES}
        | {"change_seconds": change.get("seconds")}
    )


def _layers(record: RunRecord, run: int) -> list[dict[str, Any]]:
    return [
        {"run": run, "layer": name} | {key: measures.get(key) for key in LAYER_MEASURES}
        for name, measures in (record.change.get("weights") or {}).items()
    ]


# How a run was worked off, where it is not the usual way: it changes seconds and bytes alone
WORKED_OFF = {"accumulate": 1, "checkpoint_activations": False, "compile": False}


def _device(record: RunRecord) -> str:
    """What seconds depend on; runs that differ here have no common training time."""
    env, run = record.env, record.config.get("run") or {}
    said = {key: env[key] for key in sorted(env) if "device" in key or "threads" in key}
    said |= {key: run[key] for key, usual in WORKED_OFF.items() if run.get(key, usual) != usual}
    return json.dumps(said, default=str)


def _receipts(record: RunRecord, run: int) -> list[dict[str, Any]]:
    return [
        {"run": run, "ok": receipt.get("ok"), "receipt": name, "note": receipt.get("note")}
        | {"value": _short(receipt.get("value"))}
        for name, receipt in (record.receipts or {}).items()
    ]


def _short(value: Any) -> str | None:
    """A receipt's value in a few words; of many numbers, one a layer, their range."""
    if isinstance(value, dict) and value and all(_is_number(item) for item in value.values()):
        low, high = min(value.values()), max(value.values())
        text = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
        text += f" ({len(value)})" if len(value) > 1 else ""
    elif isinstance(value, dict) and all(isinstance(item, bool) for item in value.values()):
        text = ", ".join(name if item else f"not {name}" for name, item in value.items())
    elif isinstance(value, list):
        text = ", ".join(map(str, value)) or "none"
    elif value is None or isinstance(value, str):
        return value
    else:
        text = f"{value:.4g}" if isinstance(value, float) else json.dumps(value, default=str)
    return text if len(text) <= 120 else text[:119] + "…"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _once(runs: pl.DataFrame) -> pl.DataFrame:
    """One row for each (control, method, seed): copies would count as further seeds."""
    return (
        runs.with_columns(pl.col("status").replace_strict(PRECEDENCE, range(5)).alias("_order"))
        .sort("_order", -pl.col("written"), "run")
        .unique(["control_hash", "method_hash", "seed"], keep="first", maintain_order=True)
        .sort("run")
        .drop("_order", "written")
    )
