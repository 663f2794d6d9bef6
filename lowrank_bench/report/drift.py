"""Two sets of records of the same runs, pair by pair: what an upgrade or another machine moved.

A pair is one run (control, method, seed) that both sets hold. What differs between identical runs
of one set is noise: a pair that differs by more has moved. Another order of summation moves many
runs to and fro; a method has drifted when an exact paired test over all its pairs, corrected for
the number of methods, finds its mean difference real.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lowrank_bench.errors import ConfigError
from lowrank_bench.protocol.exact import direction, of_no_difference
from lowrank_bench.protocol.holm import holm
from lowrank_bench.protocol.intervals import intervals
from lowrank_bench.protocol.ledger import DUPLICATES
from lowrank_bench.report.label import with_labels
from lowrank_bench.report.load import Loaded, gather
from lowrank_bench.report.metric import Metric, selected_metric

ALPHA = 0.05
KEY = ("control_hash", "method_hash", "seed")
# What depends on the program alone, and must not move at all
EXACT = ("params_trainable", "weight_bytes", "optimizer_state_bytes", "flops_per_update")
TIMED = ("step_time_s_median", "peak_memory_bytes")  # told as the median of B / A


@dataclass(frozen=True)
class Drift:
    """What two sets have in common, and what of it moved.

    `methods` has one row a method, `table` one a configuration: label, method_label, rank, n,
    mean_a, mean_b, difference (b - a, better is positive), low, high, largest (of all |b - a|),
    equal (pairs with the same bits), moved (pairs beyond the noise), exact_changed (names), the
    ratios of TIMED; of a method also p_holm and drifted.
    """

    names: tuple[str, str]
    metric: Metric
    methods: pl.DataFrame
    table: pl.DataFrame
    num_pairs: int
    only_a: int
    only_b: int
    changed_status: list[str]  # runs that finished in one set and not in the other
    noise: float | None  # the largest difference between identical runs of one set
    versions: list[tuple[str, str, str]]  # (package, in a, in b), where they differ


def drift(paths: Sequence[Path]) -> Drift | None:
    """Of two folders; None where they are not two, or have no run in common."""
    if len(paths) != 2:
        return None
    a, b = (with_labels(gather([path])) for path in paths)
    named = b.runs.select(*KEY, pl.all().exclude(*KEY).name.suffix("_b"))
    both = a.runs.join(named, on=list(KEY), how="inner", maintain_order="left")
    if both.is_empty():
        return None
    metric = selected_metric(both)
    if metric is None:
        return None
    measured = _scored(both, metric)
    noise = _noise(paths, metric)
    return Drift(
        names=(str(paths[0]), str(paths[1])),
        metric=metric,
        methods=_tested(measured, metric, noise),
        table=_table(measured, ["control_hash", "method_hash"], metric, noise),
        num_pairs=len(measured),
        only_a=len(a.runs) - len(both),
        only_b=len(b.runs) - len(both),
        changed_status=[
            f"{row['label']} seed {row['seed']}: {row['status']}, then {row['status_b']}"
            for row in both.filter(pl.col("status") != pl.col("status_b")).to_dicts()
        ],
        noise=noise,
        versions=_versions(a, b),
    )


def _scored(pairs: pl.DataFrame, metric: Metric) -> pl.DataFrame:
    """With columns `a` and `b`: of test data where both were tested, else of validation data."""
    test, val = (f"selected_{metric.on_part(part)}" for part in ("test", "val"))
    tested = pl.col(test).is_not_null() & pl.col(f"{test}_b").is_not_null()
    return pairs.with_columns(
        pl.when(tested).then(test).otherwise(val).alias("a"),
        pl.when(tested).then(f"{test}_b").otherwise(f"{val}_b").alias("b"),
    ).drop_nulls(["a", "b"])


def _table(pairs: pl.DataFrame, by: list[str], metric: Metric, noise: float | None) -> pl.DataFrame:
    groups = pairs.partition_by(by, maintain_order=True)
    samples = [_sample(group, metric) for group in groups]
    rows = [
        {
            **{key: group[key][0] for key in ("control_hash", "label", "method_label", "rank")},
            "n": len(sample),
            "mean_a": group["a"].mean(),
            "mean_b": group["b"].mean(),
            "difference": float(np.mean(sample)),
            "low": low,
            "high": high,
            "largest": float(np.max(np.abs(sample))),
            "equal": int(np.sum(sample == 0)),
            "moved": int(np.sum(np.abs(sample) > (noise or 0.0))),
            "exact_changed": ", ".join(_changed(group)),
            **{name: _ratio(group, name) for name in TIMED},
        }
        for group, sample, (low, high) in zip(groups, samples, intervals(samples), strict=True)
    ]
    return pl.DataFrame(rows, schema=_SCHEMA).sort("largest", descending=True, maintain_order=True)


def _tested(pairs: pl.DataFrame, metric: Metric, noise: float | None) -> pl.DataFrame:
    """One row a method of one control, of all its ranks, rates and seeds."""
    by = ["control_hash", "method_label"]
    groups = pairs.partition_by(by, maintain_order=True)
    tests = of_no_difference([_sample(group, metric) for group in groups])
    p = holm([1.0 if each is None else each for each in tests])
    named = pairs.select(by).unique(maintain_order=True).with_columns(pl.Series("p_holm", p))
    leans = [direction(_sample(group, metric)) for group in groups]
    named = named.with_columns(pl.Series("_leans", leans, dtype=pl.Int64))
    drifted = (
        (pl.col("_leans") * pl.col("difference") > 0)
        & (pl.col("p_holm") <= ALPHA)
        & (pl.col("difference").abs() > (noise or 0.0))
    )
    return (
        _table(pairs, by, metric, noise)
        .drop("label", "rank")
        .join(named, on=by, maintain_order="left")
        .with_columns(drifted.alias("drifted"))
        .drop("_leans")
    )


def _sample(group: pl.DataFrame, metric: Metric) -> np.ndarray:
    return metric.sign * (group["b"] - group["a"]).to_numpy()


_SCHEMA = pl.Schema(
    dict.fromkeys(("control_hash", "label", "method_label"), pl.String)
    | {"rank": pl.Int64, "n": pl.Int64}
    | dict.fromkeys(("mean_a", "mean_b", "difference", "low", "high", "largest"), pl.Float64)
    | {"equal": pl.Int64, "moved": pl.Int64, "exact_changed": pl.String}
    | dict.fromkeys(TIMED, pl.Float64)
)


def _changed(group: pl.DataFrame) -> list[str]:
    """Counts that differ where both sets have them."""
    different = [pl.col(name) != pl.col(f"{name}_b") for name in EXACT]
    told = group.select(each.any().alias(name) for name, each in zip(EXACT, different, strict=True))
    return [name for name in EXACT if told[name][0]]


def _ratio(group: pl.DataFrame, name: str) -> Any:
    return (group[f"{name}_b"] / group[name]).median()


def _noise(paths: Sequence[Path], metric: Metric) -> float | None:
    """The largest difference of identical runs in either set, of the runs it trained twice."""
    largest = None
    for path in paths:
        try:
            again = gather([path / DUPLICATES]).runs
        except ConfigError:  # trained nothing twice
            continue
        twice = gather([path]).runs.join(again, on="fingerprint", suffix="_b")
        twice = _scored(twice, metric)
        gap = (twice["a"] - twice["b"]).abs().max()
        if isinstance(gap, float):
            largest = max(gap, largest or 0.0)
    return largest


def _versions(a: Loaded, b: Loaded) -> list[tuple[str, str, str]]:
    """What both sets say about their software and machine, where it is not the same."""
    first, second = _environment(a), _environment(b)
    names = sorted({*first, *second})
    pairs = [(name, first.get(name, "–"), second.get(name, "–")) for name in names]
    return [each for each in pairs if each[1] != each[2]]


def _environment(loaded: Loaded) -> dict[str, str]:
    seen: dict[str, dict[str, None]] = {}
    for run in loaded.runs["run"]:
        env = loaded.records[run].env
        versions = env.get("versions")
        flat = env | (versions if isinstance(versions, dict) else {})
        for name, value in flat.items():
            if isinstance(value, str | int | float):
                seen.setdefault(name, {}).setdefault(str(value))
    return {name: " / ".join(values) for name, values in seen.items()}
