"""The figures of a section."""

import math
from typing import Any

import altair as alt
import polars as pl

from lowrank_bench.report import encoding, findings
from lowrank_bench.report.curves import curve_panels
from lowrank_bench.report.directions import directions
from lowrank_bench.report.figure import HEIGHT, Datasets, Figure, Values, layered
from lowrank_bench.report.metric import Metric
from lowrank_bench.report.palette import RED, Palette
from lowrank_bench.report.plane import plane
from lowrank_bench.report.section import Section


def figures(section: Section, palette: Palette) -> list[Figure]:
    """Against rank, parameters, what was forgotten, directions, epoch: what there are data for."""
    shown, metric = section.shown, section.metric
    if metric is None or shown.is_empty():
        return []
    drawn = []
    if shown["rank"].is_not_null().any():
        drawn.append(_rank(section, metric, palette))
    if (shown["trainable"] > 0).any():
        drawn.append(_parameters(section, metric, palette))
    drawn += [each for draw in (plane, directions) if (each := draw(section, palette))]
    if section.curve_metric is not None:
        data = Datasets()
        panels, title, legend = curve_panels(section, section.curve_metric, palette, data)
        if panels:
            drawn.append(
                Figure(
                    name="curves",
                    finding=findings.over_epochs(section),
                    caption=findings.spread(section),
                    panels=panels,
                    datasets=data.by_name,
                    legend_title=title,
                    legend=legend,
                )
            )
    return drawn


def _rank(section: Section, metric: Metric, palette: Palette) -> Figure:
    shown, data = section.shown, Datasets()
    ranks = shown["rank"].drop_nulls().unique().sort().to_list()
    x = alt.X(
        "rank:Q",
        title="Rank (log scale)",
        scale=alt.Scale(type="log", base=2, domain=[ranks[0] * 0.85, ranks[-1] * 1.18], nice=False),
        axis=alt.Axis(values=ranks, format="d", grid=False),
    )
    ranked, level = shown.drop_nulls("rank"), shown.filter(pl.col("rank").is_null())
    layers = _levels(level, data, metric, palette, shown) if len(level) else []
    layers += _series(ranked, x, data, metric, palette, shown)
    layers += _diverged(section.table.drop_nulls("rank"), "rank", x, data)
    return _figure("rank", findings.over_rank(section), section, layers, data, palette)


def _parameters(section: Section, metric: Metric, palette: Palette) -> Figure:
    shown, data = section.shown.filter(pl.col("trainable") > 0), Datasets()
    sizes = shown["trainable"].to_list()
    x = alt.X(
        "trainable:Q",
        title="Trainable parameters (log scale)",
        scale=alt.Scale(type="log", domain=[min(sizes) / 1.3, max(sizes) * 1.3], nice=False),
        axis=alt.Axis(values=_ticks(min(sizes), max(sizes)), format="~s", grid=False),
    )
    layers = _series(shown, x, data, metric, palette, shown)
    inside = section.table.filter(pl.col("trainable").is_between(min(sizes), max(sizes)))
    layers += _diverged(inside, "trainable", x, data)
    return _figure("parameters", findings.over_parameters(section), section, layers, data, palette)


def _figure(
    name: str,
    finding: str,
    section: Section,
    layers: list[alt.Chart],
    data: Datasets,
    palette: Palette,
) -> Figure:
    return Figure(
        name=name,
        finding=finding,
        caption=findings.spread(section),
        panels=[layered("", layers, HEIGHT + 20)],
        datasets=data.by_name,
        legend_title="Method",
        legend=[palette.key(m) for m in encoding.methods(section.shown, palette)],
    )


def _series(
    rows: pl.DataFrame,
    x: alt.X,
    data: Datasets,
    metric: Metric,
    palette: Palette,
    shown: pl.DataFrame,
) -> list[alt.Chart]:
    """A line a method, with a mark and a bar a configuration."""
    colour, shape = encoding.colour(shown, palette), encoding.shape(shown, palette)
    base = data.chart("series", _values(rows, metric)).encode(x=x, color=colour)
    y = alt.Y("mean:Q", title=metric.axis, scale=alt.Scale(zero=False, nice=True))
    tooltip = [
        alt.Tooltip("label:N", title="configuration"),
        alt.Tooltip("text:N", title=metric.title.lower()),
        alt.Tooltip("range:N", title="smallest to largest"),
        alt.Tooltip("n:Q", title="seeds (n)"),
        alt.Tooltip("trainable:Q", title="trainable parameters", format=","),
    ]
    return [
        base.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q"), y2=alt.Y2("high:Q")),
        encoding.line(base.encode(y=y), shown, palette),
        base.mark_point(filled=True, size=50, opacity=1).encode(y=y, shape=shape, tooltip=tooltip),
    ]


def _levels(
    rows: pl.DataFrame, data: Datasets, metric: Metric, palette: Palette, shown: pl.DataFrame
) -> list[alt.Chart]:
    """What has no rank is as good at all of them: a dashed line across, and its spread."""
    colour = encoding.colour(shown, palette)
    base = data.chart("levels", _values(rows, metric)).encode(color=colour)
    drawn = [
        base.mark_rect(fillOpacity=0.14).encode(y=alt.Y("low:Q"), y2=alt.Y2("high:Q")),
        base.mark_rule(strokeWidth=2, strokeDash=[6, 4]).encode(
            y=alt.Y("mean:Q"), tooltip=[alt.Tooltip("label:N")]
        ),
    ]
    if len(rows) == 1:  # more names would lie over each other
        names = base.mark_text(align="left", baseline="bottom", dx=5, dy=-4, fontSize=11)
        drawn.append(names.encode(x=alt.XValue(0), y=alt.Y("mean:Q"), text=alt.Text("label:N")))
    return drawn


def _diverged(rows: pl.DataFrame, column: str, x: alt.X, data: Datasets) -> list[alt.Chart]:
    """A red × at the foot, with the number of runs that no mean contains."""
    counted = (
        rows.filter(pl.col("diverged") > 0)
        .group_by(column)
        .agg(pl.col("diverged").sum(), pl.col("label").str.join(", "))
        .sort(column)
    )
    values: Values = [
        {column: at, "text": f"×{number}", "tip": f"{number} diverged: {labels}"}
        for at, number, labels in counted.rows()
    ]
    if not values:
        return []
    marks = data.chart("diverged", values).mark_text(
        color=RED, fontWeight="bold", fontSize=13, dy=-8
    )
    tooltip = alt.Tooltip("tip:N", title="not averaged")
    return [marks.encode(x=x, y=alt.YValue("height"), text=alt.Text("text:N"), tooltip=tooltip)]


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers over orders of magnitude: 1, 2, 5 of each, or 1 alone where that is much."""
    powers = range(math.floor(math.log10(low / 1.3)), math.ceil(math.log10(high * 1.3)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**power for power in powers for step in steps]
        inside = [tick for tick in ticks if low / 1.3 <= tick <= high * 1.3]
        if len(inside) <= 8:
            break
    return inside


def _values(rows: pl.DataFrame, metric: Metric) -> Values:
    return [_value(row, metric) for row in rows.sort("method_label", "rank").to_dicts()]


def _value(row: dict[str, Any], metric: Metric) -> dict[str, Any]:
    said = {
        "method": row["method_label"],
        "label": row["label"],
        "rank": row["rank"],
        "trainable": row["trainable"],
        "n": row["n"],
        "text": metric.text_with_spread(row["mean"], row["sd"]),
        "range": f"{metric.text(row['low'])} to {metric.text(row['high'])}",
    }
    return said | {key: round(row[key] * metric.scale, 4) for key in ("mean", "low", "high")}
