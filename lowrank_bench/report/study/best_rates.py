"""Where the best learning rate of each method lies, rank by rank, and how wide it is."""

from collections import Counter
from typing import Any

import altair as alt
import polars as pl

from lowrank_bench.protocol.wording import plural
from lowrank_bench.report import encoding
from lowrank_bench.report.figure import Datasets, Figure, Key, Values, layered
from lowrank_bench.report.study import words
from lowrank_bench.report.study.scale import Scale, powers
from lowrank_bench.report.study.view import View

ROW = 13  # pixels of a rank in a method's row
NONE = "no rank"
EDGES = {"no": "circle", "low": "triangle-left", "high": "triangle-right"}


def best_rates(view: View) -> Figure | None:
    """A row a method, a mark a rank; None until a trial has given a result."""
    known = view.sensitivity.drop_nulls("best_lr")
    if known.is_empty():
        return None
    tried = view.trials.group_by("arm").agg(
        pl.col("lr").min().alias("tried_low"), pl.col("lr").max().alias("tried_high")
    )
    rows = known.join(tried, on="arm", how="left").rename({"method": "method_label"})
    methods = encoding.methods(rows, view.palette)
    xs = Scale.over([*rows["tried_low"], *rows["tried_high"]], log=True, room=0.03)
    data = Datasets()
    ranks = rows["rank"].drop_nulls().unique().sort().to_list()
    legend = [Key(f"r{rank}", view.palette.rank(rank)) for rank in ranks]
    most = max(1, len(ranks))
    offset = alt.YOffset("series:N", scale=alt.Scale(domain=[key.label for key in legend]))
    y = alt.Y("method:N", title=None, sort=methods, scale=alt.Scale(domain=methods))
    layers = []
    for is_ranked, part in ((True, rows.drop_nulls("rank")), (False, _without_rank(rows))):
        if len(part):
            base = data.chart("ranked" if is_ranked else "no rank", _values(view, part))
            base = base.encode(y=y, yOffset=offset) if is_ranked and most > 1 else base.encode(y=y)
            layers += _layers(base, xs, legend if is_ranked else [])
    return Figure(
        name="best-rates",
        finding=finding(rows),
        caption=(
            "Mark: the learning rate that was selected on validation data. Thick bar: the rates "
            f"around the best that stay within {words.near(view.val)}, other knobs at their "
            "defaults. Thin line: all that were tried; a bar that reaches its end is a lower "
            "bound, a triangle is a rate at the end, and the best may lie further out. Ring: "
            "methods without a rank."
        ),
        panels=[layered("", layers, max(len(methods) * (ROW * most + 7), 60))],
        datasets=data.by_name,
        legend_title="Rank",
        legend=legend,
    )


def finding(rows: pl.DataFrame) -> str:
    """How far apart methods' rates are, and which way they go with the rank."""
    low, high = rows.sort("best_lr", "arm").row(0, named=True), rows.sort("best_lr", "arm").row(-1)
    top = dict(zip(rows.columns, high, strict=True))
    factor = top["best_lr"] / low["best_lr"]
    said = (
        f"The best learning rates lie a factor of {factor:.3g} apart, from {low['best_lr']:g} "
        f"({low['arm']}) to {top['best_lr']:g} ({top['arm']})"
        if factor > 1.001
        else f"{low['best_lr']:g} is the best learning rate of every arm"
    )
    ways = Counter(
        _way(part["best_lr"][0], part["best_lr"][-1])
        for _, part in rows.drop_nulls("rank").sort("rank").group_by("method_label")
        if part["rank"].n_unique() > 1
    )
    if not ways or factor <= 1.001:
        return said
    told = [f"{way} for {ways[way]}" for way in ("falls", "rises", "stays") if ways[way]]
    methods = plural(ways.total(), "method")
    return f"{said}; from the lowest rank to the highest it {', '.join(told)} of {methods}"


def _way(first: float, last: float) -> str:
    if abs(last / first - 1) < 1e-3:
        return "stays"
    return "rises" if last > first else "falls"


def _without_rank(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("rank").is_null())


def _layers(base: alt.Chart, xs: Scale, legend: list[Key]) -> list[alt.Chart]:
    """Without a legend in the page's ink, and hollow."""
    x = {
        "title": "Learning rate (log scale)",
        "scale": xs.alt,
        "axis": alt.Axis(format="~g", values=powers(xs.low, xs.high)),
    }
    style: dict[str, Any] = {} if legend else {"style": "ink"}
    if legend:
        colours = alt.Scale(domain=[k.label for k in legend], range=[k.colour for k in legend])
        base = base.encode(color=alt.Color("series:N", title="Rank", scale=colours, sort=None))
    shape = alt.Shape(
        "is_on_edge:N",
        legend=None,
        scale=alt.Scale(domain=[*EDGES], range=[*EDGES.values()]),
    )
    tooltip = [
        alt.Tooltip("arm:N"),
        alt.Tooltip("best_lr:Q", title="best learning rate"),
        alt.Tooltip("band:N", title="nearly as good"),
        alt.Tooltip("text:N", title="validation"),
    ]
    return [
        base.mark_rule(strokeWidth=1, opacity=0.35, **style).encode(
            x=alt.X("tried_low:Q", **x), x2="tried_high:Q"
        ),
        base.mark_rule(strokeWidth=4, opacity=0.5, **style).encode(
            x=alt.X("band_low:Q", **x), x2="band_high:Q"
        ),
        base.mark_point(filled=bool(legend), size=55, opacity=1, strokeWidth=2, **style).encode(
            x=alt.X("best_lr:Q", **x), shape=shape, tooltip=tooltip
        ),
    ]


def _values(view: View, rows: pl.DataFrame) -> Values:
    return [
        {
            "arm": row["arm"],
            "method": row["method_label"],
            "rank": row["rank"],
            "series": NONE if row["rank"] is None else f"r{row['rank']}",
            "best_lr": row["best_lr"],
            "is_on_edge": row["on_edge"] or "no",
            "band": f"{row['band_low']:g} to {row['band_high']:g}" if row["band_low"] else "–",
            "text": words.value(view.val, row["best_val"]),
            **{k: row[k] for k in ("band_low", "band_high", "tried_low", "tried_high")},
        }
        for row in rows.sort("method_label", "rank").to_dicts()
    ]
