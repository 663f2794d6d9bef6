"""`curves.parquet`: the epoch rows of a metrics file as one table of fixed columns."""

import os
from pathlib import Path
from typing import Any

from lowrank_bench.loggers.rows import read_rows
from lowrank_bench.record import METRICS

FILE = "curves.parquet"
COUNTS = ("epoch", "update")
MEASURES = ("seconds", "lr", *METRICS)


def write_curves(path_jsonl: Path, path_parquet: Path) -> Path:
    """Write the table, whole or not at all; an empty one when no epoch was logged."""
    import polars as pl

    columns = [(name, pl.Int64) for name in COUNTS] + [(name, pl.Float64) for name in MEASURES]
    table = pl.DataFrame(epoch_rows(path_jsonl), schema=dict(columns))
    neighbour = path_parquet.with_name(f".{path_parquet.name}.{os.getpid()}")
    try:
        table.write_parquet(neighbour)
        os.replace(neighbour, path_parquet)
    finally:
        neighbour.unlink(missing_ok=True)
    return path_parquet


def epoch_rows(path_jsonl: Path) -> list[dict[str, Any]]:
    """One row an epoch: rows of the same epoch are merged, the later value wins."""
    epochs: dict[int, dict[str, Any]] = {}
    for row in read_rows(path_jsonl):
        if row.get("epoch") is None:
            continue
        merged = epochs.setdefault(int(row["epoch"]), dict.fromkeys(COUNTS + MEASURES))
        known = {key: value for key, value in row.items() if key in merged and value is not None}
        merged |= known | {"epoch": int(row["epoch"])}
    return [epochs[epoch] for epoch in sorted(epochs)]
