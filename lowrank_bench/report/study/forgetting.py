"""What was learned against what was kept of the source, at every learning rate and in the end."""

from typing import Any

import altair as alt
import polars as pl

from lowrank_bench.protocol.study import TUNE
from lowrank_bench.protocol.wording import listed, plural
from lowrank_bench.report import encoding
from lowrank_bench.report.figure import PANEL_WIDTH, Datasets, Figure, Values, layered
from lowrank_bench.report.metric import Metric
from lowrank_bench.report.naming import Box
from lowrank_bench.report.study import words
from lowrank_bench.report.study.scale import Axes, Scale
from lowrank_bench.report.study.view import FINISHED, View

WIDTH, HEIGHT = 2 * PANEL_WIDTH, 400
SURE = 0.95


def forgetting(view: View) -> Figure | None:
    """None where no final was asked about the source."""
    rows, source = view.forgetting.drop_nulls(["learned", "kept"]), view.source
    if rows.is_empty() or source is None:
        return None
    values = [_value(view, source, row) for row in rows.sort("method", "rank").to_dicts()]
    axes = _axes(view, values)
    metric, data = view.metric, Datasets()
    x = {"title": metric.axis, "scale": axes.x.alt, "axis": alt.Axis(tickCount=8)}
    y = {"title": source.axis.replace(" (", " after adaptation (", 1), "scale": axes.y.alt}
    at = {"x": alt.X("x:Q", **x), "y": alt.Y("y:Q", **y)}
    colour = encoding.colour(view.arms, view.palette)
    on = sorted((v for v in values if v["on"]), key=lambda v: v["x"])
    stair = "step-before" if metric.higher_is_better else "step-after"
    base = data.chart("finals", values).encode(color=colour)
    bar = base.mark_rule(strokeWidth=1.4, opacity=0.6)
    tuned = data.chart("tuning", _tuning(view, source)).encode(**at, color=colour)
    layers = [
        *_before(view, source, axes, y, data),
        tuned.mark_line(strokeWidth=1, opacity=0.35, clip=True).encode(
            detail="arm:N", order="lr:Q"
        ),
        data.chart("frontier", on)
        .mark_line(style="ink", interpolate=stair, strokeWidth=6, opacity=0.16)
        .encode(**at),
        bar.encode(x=alt.X("x_low:Q", **x), x2="x_high:Q", y=at["y"]),
        bar.encode(x=at["x"], y=alt.Y("y_low:Q", **y), y2="y_high:Q"),
    ]
    shape = encoding.shape(view.arms, view.palette)
    for is_ranked in (True, False):
        those = [v for v in values if v["ranked"] is is_ranked]
        if those:
            mark = data.chart("ranked" if is_ranked else "unranked", those)
            layers.append(
                mark.mark_point(filled=is_ranked, opacity=1, strokeWidth=1.8).encode(
                    **at,
                    color=colour,
                    shape=shape,
                    size=alt.Size("size:Q", scale=None, legend=None),
                    tooltip=_tooltip(view, source),
                )
            )
    named = [*sorted(on, key=lambda v: -v["chance"]), *(v for v in values if not v["on"])]
    across = _across(view, source, axes)
    taken = [] if across is None else [(0.0, across - 18, 170.0, across)]
    layers += axes.names("finals", named, values, data, at, taken=taken, thin=_bars(axes, values))
    return Figure(
        name="forgetting",
        finding=finding(rows),
        caption=_caption(view, source),
        panels=[layered("", layers, HEIGHT)],
        datasets=data.by_name,
        legend_title="Method",
        legend=[view.palette.key(m) for m in encoding.methods(view.arms, view.palette)],
    )


def finding(rows: pl.DataFrame) -> str:
    """Who is on the frontier, and how surely."""
    ranked = rows.filter("ranked")
    if ranked.is_empty():
        return "No arm is ranked, so that there is no frontier of learning and forgetting"
    on = ranked.filter("on_frontier").sort("learned", "arm")
    sure = on.filter(pl.col("probability") >= SURE)["arm"].to_list()
    lie = "lies" if len(on) == 1 else "lie"
    said = (
        f"{len(on)} of {plural(len(ranked), 'ranked arm')} {lie} on the frontier of learning and "
        "forgetting"
    )
    told = (
        f"{listed(sure)} in at least {100 * SURE:g} % of resamples"
        if sure
        else "none of them surely"
    )
    return f"{said}; {told}"


def _caption(view: View, source: Metric) -> str:
    across = "right" if view.metric.higher_is_better else "left"
    up = "up" if source.higher_is_better else "down"
    return (
        f"Better is {up} and to the {across}. Marks: finals, means over fresh seeds with bootstrap "
        "95 % intervals; larger with the rank; hollow where not ranked. The grey stair joins what "
        "nothing beats in both. Faint lines: tuning runs from learning rate to learning rate, "
        f"{view.val.title.lower()} across."
    )


def _axes(view: View, values: Values) -> Axes:
    xs = [v[key] for v in values for key in ("x", "x_low", "x_high") if v[key] is not None]
    ys = [v[key] for v in values for key in ("y", "y_low", "y_high") if v[key] is not None]
    return Axes(Scale.over(xs, room=0.12), Scale.over(ys, room=0.12), WIDTH, HEIGHT)


def _bars(axes: Axes, values: Values) -> list[Box]:
    boxes = []
    for v in values:
        if None not in (v["x_low"], v["x_high"], v["y_low"], v["y_high"]):
            x, y = axes.pixel(v["x"], v["y"])
            left, bottom = axes.pixel(v["x_low"], v["y_low"])
            right, top = axes.pixel(v["x_high"], v["y_high"])
            boxes += [(left, y - 1, right, y + 1), (x - 1, top, x + 1, bottom)]
    return boxes


def _across(view: View, source: Metric, axes: Axes) -> float | None:
    """How far down what the base knew lies, in pixels; None where it is out of sight."""
    known = view.finals[f"before_{source.column}"].mean()
    if not isinstance(known, float) or not axes.y.low <= known * source.scale <= axes.y.high:
        return None
    return axes.pixel(axes.x.low, known * source.scale)[1]


def _before(
    view: View, source: Metric, axes: Axes, y: dict[str, Any], data: Datasets
) -> list[alt.Chart]:
    """What the base knew, as a line across, where that is in sight."""
    known = view.finals[f"before_{source.column}"].mean()
    if _across(view, source, axes) is None or not isinstance(known, float):
        return []
    text = f"the base before: {words.value(source, known)}"
    base = data.chart("before", [{"y": round(known * source.scale, 4), "text": text}])
    base = base.encode(y=alt.Y("y:Q", **y))
    return [
        base.mark_rule(style="ink", strokeWidth=1.2, strokeDash=[6, 4], opacity=0.7),
        base.mark_text(
            style="ink", align="left", baseline="bottom", dx=5, dy=-3, fontSize=11
        ).encode(x=alt.value(0), text="text:N"),
    ]


def _tuning(view: View, source: Metric) -> Values:
    """One row a trial of the learning rate alone: what was learned on validation, and kept."""
    plain = view.trials.filter(pl.col("knobs") == "").select("arm", "trial")
    rows = (
        view.study.stage(TUNE)
        .filter(FINISHED)
        .join(plain, on=["arm", "trial"])
        .group_by("arm", "lr")
        .agg(
            pl.col(view.study.val).mean().alias("x"),
            pl.col(f"selected_{source.column}").mean().alias("y"),
        )
        .drop_nulls()
        .sort("arm", "lr")
    )
    return [
        {
            "arm": row["arm"],
            "method": view.by_arm[row["arm"]]["method_label"],
            "rank": view.by_arm[row["arm"]]["rank"],
            "lr": row["lr"],
            "x": round(row["x"] * view.val.scale, 4),
            "y": round(row["y"] * source.scale, 4),
        }
        for row in rows.to_dicts()
    ]


def _tooltip(view: View, source: Metric) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("arm:N"),
        alt.Tooltip("learned:N", title=view.metric.title.lower()),
        alt.Tooltip("kept:N", title=source.title.lower()),
        alt.Tooltip("forgot:N", title=f"forgot ({words.unit(source)})"),
        alt.Tooltip("standing:N", title="on the frontier"),
    ]


def _value(view: View, source: Metric, row: dict[str, Any]) -> dict[str, Any]:
    ranks = [rank for rank in view.ranks_tried if rank is not None]
    place = ranks.index(row["rank"]) / max(len(ranks) - 1, 1) if row["rank"] is not None else 0.5
    chance = row["probability"]
    return {
        **_scaled("x", row, "learned", view.metric),
        **_scaled("y", row, "kept", source),
        "arm": row["arm"],
        "method": row["method"],
        "rank": row["rank"],
        "size": round(45 + 75 * place),
        "on": row["on_frontier"],
        "ranked": row["ranked"],
        "chance": chance or 0.0,
        "standing": "not ranked" if chance is None else f"in {chance:.0%} of resamples",
        "learned": f"{words.value(view.metric, row['learned'])}, 95 % "
        + words.between(view.metric, row["learned_low"], row["learned_high"]),
        "kept": f"{words.value(source, row['kept'])}, 95 % "
        + words.between(source, row["kept_low"], row["kept_high"]),
        "forgot": words.signed(source, row["forgot"]),
    }


def _scaled(axis: str, row: dict[str, Any], name: str, metric: Metric) -> dict[str, float | None]:
    ends = {axis: name, f"{axis}_low": f"{name}_low", f"{axis}_high": f"{name}_high"}
    return {
        key: None if row[of] is None else round(row[of] * metric.scale, 4)
        for key, of in ends.items()
    }
