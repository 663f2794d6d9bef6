"""What a configuration is called: short, and never the same for two of them."""

from dataclasses import replace

import polars as pl

from lowrank_bench.protocol.arm_name import method_label
from lowrank_bench.report.load import Loaded


def with_labels(loaded: Loaded) -> Loaded:
    """Add `method_label` (one a curve family) and `label` (one a configuration) to the runs."""
    named = [
        method_label(str(record.name.get("method")), record.overrides) for record in loaded.records
    ]
    runs = loaded.runs.with_columns(
        pl.Series("method_label", named, dtype=pl.String)
        .gather(loaded.runs["run"])
        .alias("method_label")
    )
    key = ["control_hash", "method_hash"]
    # One configuration may be reached by two spellings (`ae` is `lowrank` with another
    # init): the shorter one names all its runs.
    names = (
        runs.sort(pl.col("method_label").str.len_chars(), "method_label", "run")
        .unique(key, keep="first", maintain_order=True)
        .select(*key, "method_label", "rank", "lr")
    )
    names = _made_distinct(names, ["control_hash", "method_label", "rank", "lr"])
    several_lrs = pl.col("lr").n_unique().over("control_hash", "method_label", "rank") > 1
    names = names.with_columns(
        pl.concat_str(
            "method_label",
            pl.when(pl.col("rank").is_not_null())
            .then(pl.format(" r{}", "rank"))
            .otherwise(pl.lit("")),
            pl.when(several_lrs & pl.col("lr").is_not_null())
            .then(pl.lit(" lr ") + pl.col("lr").map_elements(lambda lr: f"{lr:g}", pl.String))
            .otherwise(pl.lit("")),
        ).alias("label")
    )
    names = _made_distinct(names, ["control_hash", "label"], "label")
    runs = runs.drop("method_label", "rank", "lr").join(names, on=key, how="left")
    return replace(loaded, runs=runs.sort("run"))


def _made_distinct(
    names: pl.DataFrame, same: list[str], column: str = "method_label"
) -> pl.DataFrame:
    """Where two configurations would share a name, a bit of the method's hash tells them."""
    for length in (6, 64):
        clash = pl.len().over(same) > 1
        told = pl.format("{} #{}", column, pl.col("method_hash").str.head(length))
        names = names.with_columns(pl.when(clash).then(told).otherwise(column).alias(column))
    return names
