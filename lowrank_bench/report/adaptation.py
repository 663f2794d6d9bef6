"""What adaptation did to a base, over seeds: what was forgotten, what changed."""

import polars as pl

from lowrank_bench.report.metric import Metric

# of a run's record, `change`, as columns of runs.csv
SUMMARY = ("norm", "relative_norm", "rank", "stable_rank", "effective_rank", "components_90")
FEATURES = ("target", "source")
CHANGES = (
    *(f"change_{name}" for name in SUMMARY),
    *(f"change_cka_{name}" for name in FEATURES),
    "change_seconds",
)
RANGED = ("change_stable_rank", "change_components_90")  # drawn with their spread

SOURCE = (
    *("source_before", "source_mean", "source_sd", "source_low", "source_high"),
    *("forgetting_mean", "forgetting_sd"),
)
COLUMNS = (
    *SOURCE,
    *(name for name in CHANGES if name != "change_seconds"),
    *(f"{name}_{end}" for name in RANGED for end in ("low", "high")),
)


def aggregated(source: Metric | None, of: pl.Expr) -> list[pl.Expr]:
    """The columns COLUMNS over the runs that the predicate `of` keeps.

    Forgetting is what was lost on the source: before - after of an accuracy, after - before of a
    loss, run by run. It is below zero where the source gained.
    """
    none = pl.lit(None, pl.Float64)
    after = pl.col(f"selected_{source.column}").filter(of) if source else none
    before = pl.col(f"before_{source.column}").filter(of) if source else none
    lost = (before - after) * (source.sign if source else 1)
    return [
        before.mean().alias("source_before"),
        after.mean().alias("source_mean"),
        after.std().alias("source_sd"),
        after.min().alias("source_low"),
        after.max().alias("source_high"),
        lost.mean().alias("forgetting_mean"),
        lost.std().alias("forgetting_sd"),
        *(pl.col(name).filter(of).mean() for name in CHANGES if name != "change_seconds"),
        *(pl.col(name).filter(of).min().alias(f"{name}_low") for name in RANGED),
        *(pl.col(name).filter(of).max().alias(f"{name}_high") for name in RANGED),
    ]


def changed(table: pl.DataFrame) -> pl.DataFrame:
    """The configurations of which something of all this is known."""
    return table.filter(pl.any_horizontal(pl.col(name).is_not_null() for name in COLUMNS))


def frontier(rows: pl.DataFrame, target: Metric, source: Metric) -> pl.DataFrame:
    """Those configurations that none beats in one of target and source without losing in the
    other, in the order of the target's axis.
    """
    gains = rows.select(
        (target.sign * pl.col("mean")).alias("x"), (source.sign * pl.col("source_mean")).alias("y")
    ).rows()
    kept = [not any(u >= x and v >= y and (u > x or v > y) for u, v in gains) for x, y in gains]
    return rows.filter(pl.Series(kept, dtype=pl.Boolean)).sort("mean")
