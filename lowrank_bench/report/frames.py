"""All that records hold, as frames: for a notebook, and for the tables of a report."""

from pathlib import Path
from typing import NamedTuple

import polars as pl

from lowrank_bench.report.label import with_labels
from lowrank_bench.report.load import Loaded, gather

NAMES = ("run", "path", "fingerprint", "label", "seed")


class Frames(NamedTuple):
    """What `runs.parquet`, `curves.parquet` and `layers.parquet` of a report hold."""

    runs: pl.DataFrame  # one row a run: what it was, its metrics, cost and change
    curves: pl.DataFrame  # one row a run and epoch
    layers: pl.DataFrame  # one row a run and layer: how far it moved from the base's


def frames(*folders: Path | str) -> Frames:
    """Every record below `folders`, as a report reads it.

    Raises: ConfigError when a folder is missing or without records, or all are corrupt.
    """
    return frames_of(with_labels(gather([Path(folder) for folder in folders])))


def frames_of(loaded: Loaded) -> Frames:
    names = loaded.runs.select(NAMES)
    return Frames(
        runs=loaded.runs.drop("run"),
        curves=names.join(loaded.curves, on="run", how="right").drop("run"),
        layers=names.join(loaded.layers, on="run", how="right").drop("run"),
    )
