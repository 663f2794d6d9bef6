"""Over seeds: one row a configuration, one row a configuration and epoch.

Only finished runs enter a mean. Diverged and failed ones are counted beside it.
"""

import polars as pl

from lowrank_bench.report.adaptation import aggregated
from lowrank_bench.report.metric import NATS, Metric

FINISHED = pl.col("status") == "finished"


def configurations(
    runs: pl.DataFrame, metric: Metric | None, source: Metric | None = None
) -> pl.DataFrame:
    """One row for each method hash of one control, the best mean first.

    `source` is the metric that tells what was forgotten, where the base's source is known.
    """
    score = pl.col(f"selected_{metric.column}") if metric else pl.lit(None, pl.Float64)
    loss = pl.col(f"selected_{metric.loss_column}") if metric else pl.lit(None, pl.Float64)
    seconds = pl.col("train_seconds")
    accuracy = pl.col("selected_val_accuracy").filter(FINISHED).mean()
    by_loss = metric is not None and metric.unit == NATS
    table = runs.group_by("method_hash", maintain_order=True).agg(
        pl.col("control_hash", "label", "method_label", "rank", "lr").first(),
        pl.len().alias("num_runs"),
        score.filter(FINISHED).count().alias("n"),
        *_spread(score.filter(FINISHED)),
        loss.filter(FINISHED).mean().alias("loss_mean"),
        loss.filter(FINISHED).std().alias("loss_sd"),
        *(_mean_of(metric, name) for name in ("perplexity", "bits_per_byte")),
        (pl.lit(None, pl.Float64) if by_loss else accuracy).alias("val_mean"),
        pl.col("selected_val_loss").filter(FINISHED).mean().alias("val_loss_mean"),
        pl.col("params_trainable").drop_nulls().first().alias("trainable"),
        # seconds on unlike devices have no mean
        pl.when(pl.col("device").filter(FINISHED).n_unique() == 1)
        .then(seconds.filter(FINISHED).mean())
        .alias("train_seconds"),
        (pl.col("status") == "diverged").sum().alias("diverged"),
        (~pl.col("status").is_in(["finished", "diverged"])).sum().alias("unfinished"),
        (pl.col("num_failed_receipts") > 0).sum().alias("num_with_failed_receipts"),
        # of the very runs that are ranked: while a study tunes, others have no test value
        *aggregated(source, FINISHED & score.is_not_null() if metric else FINISHED),
    )
    return (
        table.with_columns(
            ((metric.sign if metric else 1) * pl.col("mean"))
            .rank("min", descending=True)
            .cast(pl.Int64)
            .alias("place"),
        )
        .sort("place", "method_label", "rank", "lr", nulls_last=True)
        .pipe(_choose_lr)
    )


def _mean_of(metric: Metric | None, name: str) -> pl.Expr:
    """The mean of another number on the metric's split, by that number's name."""
    value = pl.col(f"selected_{metric.on_same_part(name)}") if metric else pl.lit(None, pl.Float64)
    return value.filter(FINISHED).mean().alias(name)


def _spread(value: pl.Expr) -> tuple[pl.Expr, ...]:
    return (
        value.mean().alias("mean"),
        value.std().alias("sd"),  # of the sample: null for one seed
        value.min().alias("low"),
        value.max().alias("high"),
    )


def _choose_lr(table: pl.DataFrame) -> pl.DataFrame:
    """Mark, for each method and rank, the learning rate that the charts show.

    It is the best on validation data where these were kept, of those that have a result to show
    (while a study tunes, it leaves test data alone); the table has them all.
    """
    family = ["method_label", "rank"]
    order = table.sort(
        pl.col("n") > 0,
        "val_mean",
        -pl.col("val_loss_mean"),
        -pl.col("place"),
        descending=True,
        nulls_last=True,
    ).with_columns(
        (pl.int_range(pl.len()).over(family) == 0).alias("chosen"),
        pl.len().over(family).alias("num_tried"),
    )
    return table.join(
        order.select("method_hash", "chosen", "num_tried"), on="method_hash", how="left"
    )


def curves(epochs: pl.DataFrame, runs: pl.DataFrame, metric: Metric | None) -> pl.DataFrame:
    """Mean and spread over seeds at each epoch of each configuration."""
    value = pl.col(metric.column) if metric else pl.lit(None, pl.Float64)
    return (
        epochs.join(runs.filter(FINISHED).select("run", "method_hash"), on="run")
        .with_columns(value.alias("value"))
        .drop_nulls("value")
        .group_by("method_hash", "epoch")
        .agg(pl.len().alias("n"), *_spread(pl.col("value")))
        .sort("method_hash", "epoch")
    )
