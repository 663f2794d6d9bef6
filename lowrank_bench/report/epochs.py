"""The curves of runs: one row a run and epoch."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from lowrank_bench.record import METRICS

COLUMNAR = "curves.parquet"
CHUNK = 200  # files that are read at once; thousands take longer for each
CURVES = pl.Schema(
    {"run": pl.Int64, "epoch": pl.Int64, "update": pl.Int64, "seconds": pl.Float64}
    | dict.fromkeys((*METRICS, "lr"), pl.Float64)
)


def read_curves(folders: Iterable[tuple[int, Path]]) -> pl.DataFrame:
    """Of each run the columnar file that it leaves when it ends, else the one it appends to."""
    frames = []
    rows: list[dict[str, Any]] = []
    for chunk in _chunks(folders):
        together = _together(chunk)
        for run, folder in chunk if together is None else ():
            frame = _columnar(folder / COLUMNAR)
            if frame is not None:
                frames.append(frame.with_columns(pl.lit(run, pl.Int64).alias("run")))
            else:
                rows += [row | {"run": run} for row in _lines(folder / "metrics.jsonl")]
        if together is not None:
            frames.append(together)
    frames.append(pl.DataFrame(rows, schema=CURVES, strict=False))
    whole = (
        pl.concat([frame.select(CURVES.names()) for frame in frames])
        .with_columns(pl.col(pl.Float64).fill_nan(None))
        .drop_nulls("epoch")
    )
    return _once_an_epoch(whole).sort("run", "epoch")


def _once_an_epoch(rows: pl.DataFrame) -> pl.DataFrame:
    """One epoch may have several rows: a resumed run repeats some, and test data come late. Of
    each column the last value counts. To look through all groups for that is slow, and they are
    few.
    """
    key = ["run", "epoch"]
    repeated = pl.struct(key).is_duplicated()
    merged = (
        rows.filter(repeated)
        .group_by(key, maintain_order=True)
        .agg(pl.all().drop_nulls().last())
        .select(rows.columns)
    )
    return pl.concat([rows.filter(~repeated), merged])


def _together(folders: Sequence[tuple[int, Path]]) -> pl.DataFrame | None:
    """The columnar files of many runs, read at once; None where one is missing, torn or old.

    0.2 ms a file, against 1.5 ms for one after the other.
    """
    kinds = {name: kind for name, kind in CURVES.items() if name != "run"}
    runs = {str(folder / COLUMNAR): run for run, folder in folders}
    try:
        frame = (
            pl.scan_parquet(
                list(runs),
                schema=kinds,
                missing_columns="insert",
                extra_columns="ignore",
                include_file_paths="path",
                glob=False,
                hive_partitioning=False,
            )
            .collect()
            .rechunk()
        )  # else one piece a file, which slows all that follows
    except (OSError, pl.exceptions.PolarsError):
        return None
    return frame.with_columns(
        pl.col("path").replace_strict(runs, return_dtype=pl.Int64).alias("run")
    )


def _chunks(folders: Iterable[tuple[int, Path]]) -> Iterator[list[tuple[int, Path]]]:
    left = iter(folders)
    while chunk := list(islice(left, CHUNK)):
        yield chunk


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
