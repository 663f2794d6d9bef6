"""The metric against what it costs: a panel a cost, with intervals and the frontier."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import altair as alt
import polars as pl

from lowrank_bench.protocol.wording import listed, plural
from lowrank_bench.report import encoding
from lowrank_bench.report.figure import (
    HEIGHT,
    PANEL_WIDTH,
    Datasets,
    Figure,
    Panel,
    Values,
    layered,
)
from lowrank_bench.report.study import words
from lowrank_bench.report.study.scale import Axes, Scale, in_sight
from lowrank_bench.report.study.view import View

MIB = 2.0**20
TALL = HEIGHT + 20
SURE = 0.95


@dataclass(frozen=True)
class Cost:
    column: str
    title: str
    per: float = 1.0  # one unit of the axis
    unit: str = ""


COSTS = (
    Cost("rank", "Rank"),
    Cost("params_trainable", "Trainable parameters"),
    Cost("optimizer_state_bytes", "Optimizer state", MIB, "MiB"),
    Cost("peak_memory_bytes", "Peak memory", MIB, "MiB"),
    Cost("train_flops", "Training FLOPs"),
    Cost("train_seconds", "Training time", 1.0, "s"),
)
# what the finding is about: the first of these that is known
TOLD = ("params_trainable", "optimizer_state_bytes", "train_flops", "rank", "train_seconds")


def costs(view: View) -> Figure | None:
    """None until two arms have been tested."""
    known = {cost.column: view.frontier(cost.column).drop_nulls(["x", "y"]) for cost in COSTS}
    drawn = [cost for cost in COSTS if len(known[cost.column]) > 1]
    if not drawn:
        return None
    far = _out_of_sight(view)
    values = {
        cost.column: [v for v in _values(view, known[cost.column], cost) if v["arm"] not in far]
        for cost in drawn
    }
    on = [v for those in values.values() for v in sorted(those, key=lambda v: v["x"]) if v["on"]]
    data = Datasets()
    return Figure(
        name="costs",
        finding=finding(known),
        caption=_caption([_inside(cost) for cost in COSTS if cost not in drawn], far),
        panels=[_panel(view, values[cost.column], cost, on, data) for cost in drawn],
        datasets=data.by_name,
        legend_title="Method",
        legend=[view.palette.key(m) for m in encoding.methods(view.arms, view.palette)],
    )


def _out_of_sight(view: View) -> dict[str, str]:
    """The arms that are too bad to be drawn beside the others, and how bad."""
    rows = view.leaderboard.drop_nulls("mean")
    seen = in_sight(rows["mean"].to_list(), view.metric.sign)
    arms = rows.filter(~pl.Series(seen, dtype=pl.Boolean)).select("arm", "mean").rows()
    return {arm: words.value(view.metric, mean) for arm, mean in arms}


def finding(known: dict[str, pl.DataFrame]) -> str:
    """Who is on the frontier of parameters, or of the first cost that is known."""
    column = next(each for each in TOLD if len(known[each]) > 1)
    title = next(_inside(cost) for cost in COSTS if cost.column == column)
    ranked = known[column].filter("ranked")
    if ranked.is_empty():
        return "No arm is ranked, so that there is no frontier of metric and cost"
    on = ranked.filter("on_frontier").sort("x", "arm")
    sure = on.filter(pl.col("probability") >= SURE)["arm"].to_list()
    lie = "lies" if len(on) == 1 else "lie"
    said = f"{len(on)} of {plural(len(ranked), 'ranked arm')} {lie} on the frontier of {title}"
    resamples = f"in at least {100 * SURE:g} % of resamples"
    return f"{said}; {resamples} {listed(sure) if sure else 'none of them'}"


def _inside(cost: Cost) -> str:
    """Its title inside a sentence: 'training FLOPs'."""
    return cost.title[:1].lower() + cost.title[1:]


def _caption(missing: list[str], far: dict[str, str]) -> str:
    said = [
        "Means over fresh seeds and bootstrap 95 % intervals. Grey stair: the frontier, what "
        "nothing cheaper beats; a mark is the fainter, the fewer resamples of the seeds have it "
        "there. Hollow: arms that are not ranked, which take no part. Marks of one rank stand "
        "side by side; dashed: references without a rank."
    ]
    if far:
        told = listed([f"{arm} ({value})" for arm, value in far.items()])
        said.append(f"Too far off to be shown: {told}.")
    if missing:
        said.append(f"Not known: {listed(missing)}.")
    return " ".join(said)


def _panel(view: View, values: Values, cost: Cost, on: Values, data: Datasets) -> Panel:
    xs = Scale.over([v["x"] for v in values], log=True)
    ends = [v[key] for v in values for key in ("y", "low", "high") if v[key] is not None]
    axes = Axes(xs, Scale.over(ends, room=0.1), PANEL_WIDTH, TALL)
    note = ", ".join(filter(None, (cost.unit, "log scale" if xs.is_log else "")))
    ticks: dict[str, Any] = (
        {"values": sorted({v["rank"] for v in values})} if cost.column == "rank" else {}
    )
    x = {
        "title": f"{cost.title} ({note})" if note else cost.title,
        "scale": xs.alt,
        "axis": alt.Axis(grid=False, tickCount=5, format="~g" if cost.unit else "~s", **ticks),
    }
    y = {"title": view.metric.axis, "scale": axes.y.alt}
    at = {"x": alt.X("x:Q", **x), "y": alt.Y("y:Q", **y)}
    looks = {
        "color": encoding.colour(view.arms, view.palette),
        "opacity": alt.Opacity(
            "chance:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=[0.35, 1])
        ),
    }
    stair = data.chart("frontier", on).transform_filter(alt.datum.cost == cost.column)
    bars = data.chart(f"{cost.column} bars", [v for v in values if v["low"] is not None])
    layers = [
        stair.mark_line(style="ink", interpolate="step-after", strokeWidth=6, opacity=0.16).encode(
            **at
        ),
        bars.mark_rule(strokeWidth=1.6).encode(
            x=at["x"], y=alt.Y("low:Q", **y), y2="high:Q", **looks
        ),
    ]
    if cost.column == "rank":
        layers = [*_levels(view, axes, y, data), *layers]
    for is_ranked in (True, False):
        those = [v for v in values if v["ranked"] is is_ranked]
        if those:
            base = data.chart(f"{cost.column}{'' if is_ranked else ' unranked'}", those)
            mark = base.mark_point(filled=is_ranked, size=60, strokeWidth=1.6)
            shape = encoding.shape(view.arms, view.palette)
            layers.append(mark.encode(**at, **looks, shape=shape, tooltip=_tooltip(view, cost)))
    named = sorted((v for v in values if v["on"]), key=lambda v: (-v["chance"], v["arm"]))
    layers += axes.names(cost.column, named, values, data, at)
    return layered(cost.title, layers, TALL)


def _levels(view: View, axes: Axes, y: dict[str, Any], data: Datasets) -> list[alt.Chart]:
    """References without a rank, as dashed lines across, where they are in sight."""
    wanted = view.study.ledger.rules.references
    rows = view.leaderboard.filter(pl.col("rank").is_null(), pl.col("method").is_in(wanted))
    values = [
        {
            "arm": row["arm"],
            "method": row["method"],
            "rank": None,
            "y": round(row["mean"] * view.metric.scale, 4),
        }
        for row in rows.drop_nulls("mean").to_dicts()
    ]
    values = [v for v in values if axes.y.low <= v["y"] <= axes.y.high]
    if not values:
        return []
    base = data.chart("levels", values).encode(y=alt.Y("y:Q", **y))
    return [
        base.mark_rule(strokeDash=[6, 4], strokeWidth=1.6).encode(
            color=encoding.colour(view.arms, view.palette)
        ),
        base.mark_text(
            style="ink", align="left", baseline="bottom", dx=4, dy=-3, fontSize=10
        ).encode(x=alt.value(0), text="arm:N"),
    ]


def _side_by_side(values: Values) -> Values:
    """Marks of one rank would lie over each other: a few percent apart, by the method."""
    methods = sorted({v["method"] for v in values})
    ranks = sorted({v["rank"] for v in values})
    gaps = [b / a for a, b in pairwise(ranks)]
    step = min([*gaps, 4.0]) ** (0.7 / max(len(methods), 2))
    middle = (len(methods) - 1) / 2
    return [
        v | {"x": float(f"{v['rank'] * step ** (methods.index(v['method']) - middle):.6g}")}
        for v in values
    ]


def _tooltip(view: View, cost: Cost) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("arm:N"),
        alt.Tooltip("text:N", title=view.metric.title.lower()),
        alt.Tooltip("interval:N", title="95 % interval"),
        alt.Tooltip("price:N", title=_inside(cost)),
        alt.Tooltip("n:Q", title="seeds (n)"),
        alt.Tooltip("standing:N", title="on the frontier"),
    ]


def _values(view: View, rows: pl.DataFrame, cost: Cost) -> Values:
    seeds = dict(view.leaderboard.select("arm", "n").iter_rows())
    values = [_value(view, row, cost, seeds) for row in rows.sort("method", "rank").to_dicts()]
    return _side_by_side(values) if cost.column == "rank" else values


def _value(view: View, row: dict[str, Any], cost: Cost, seeds: dict[str, int]) -> dict[str, Any]:
    metric, chance = view.metric, row["probability"]
    scaled = {
        key: None if row[key] is None else round(row[key] * metric.scale, 4)
        for key in ("y", "low", "high")
    }
    return scaled | {
        "cost": cost.column,
        "arm": row["arm"],
        "method": row["method"],
        "rank": row["rank"],
        "x": float(f"{row['x'] / cost.per:.6g}"),
        "n": seeds[row["arm"]],
        "on": row["on_frontier"],
        "ranked": row["ranked"],
        "chance": 1.0 if chance is None else round(chance, 3),
        "standing": "not ranked" if chance is None else f"in {chance:.0%} of resamples",
        "text": words.value(metric, row["y"]),
        "interval": words.between(metric, row["low"], row["high"]),
        "price": " ".join(filter(None, (words.short(row["x"] / cost.per), cost.unit))),
    }
