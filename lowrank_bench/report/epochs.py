"""The curves of runs: one row a run and epoch."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from lowrank_bench.record import METRICS

CURVES = pl.Schema(
    {"run": pl.Int64, "epoch": pl.Int64, "update": pl.Int64, "seconds": pl.Float64}
    | dict.fromkeys((*METRICS, "lr"), pl.Float64)
)


def read_curves(folders: Iterable[tuple[int, Path]]) -> pl.DataFrame:
    """Of each run the columnar file that it leaves when it ends, else the one it appends to."""
    frames = []
    rows: list[dict[str, Any]] = []
    for run, folder in folders:
        frame = _columnar(folder / "curves.parquet")
        if frame is not None:
            frames.append(frame.with_columns(pl.lit(run, pl.Int64).alias("run")))
        else:
            rows += [row | {"run": run} for row in _lines(folder / "metrics.jsonl")]
    frames.append(pl.DataFrame(rows, schema=CURVES, strict=False))
    return (
        pl.concat([frame.select(CURVES.names()) for frame in frames])
        .with_columns(pl.col(pl.Float64).fill_nan(None))
        .drop_nulls("epoch")
        # One epoch may have several rows: a resumed run repeats some, and test data come
        # late. Of each column the last value counts.
        .group_by("run", "epoch", maintain_order=True)
        .agg(pl.all().drop_nulls().last())
        .sort("run", "epoch")
    )


def _columnar(path: Path) -> pl.DataFrame | None:
    if not path.is_file():
        return None
    try:
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError):
        return None
    return frame.select(
        **{
            name: pl.col(name).cast(kind, strict=False)
            if name in frame.columns
            else pl.lit(None, kind)
            for name, kind in CURVES.items()
        }
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue  # torn by a crash; a later resume goes on below it
        if isinstance(row, dict) and row.get("epoch") is not None:
            rows.append({key: row.get(key) for key in CURVES})
    return rows
