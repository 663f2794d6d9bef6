"""The three figures of a section."""

from typing import Any

import altair as alt
import polars as pl

from lowrank_bench.report import findings
from lowrank_bench.report.curves import curve_panels
from lowrank_bench.report.figure import HEIGHT, Figure, Key, Panel
from lowrank_bench.report.metric import Metric
from lowrank_bench.report.palette import RED, Palette
from lowrank_bench.report.section import Section


def figures(section: Section, palette: Palette) -> list[Figure]:
    """Against rank, against parameters, against epoch: those that there are data for."""
    shown = section.shown
    if section.metric is None or shown.is_empty():
        return []
    drawn = []
    if shown["rank"].is_not_null().any():
        drawn.append(_rank(section, section.metric, palette))
    if (shown["trainable"] > 0).any():
        drawn.append(_parameters(section, section.metric, palette))
    if section.curve_metric is not None:
        panels, title, legend = curve_panels(section, section.curve_metric, palette)
        if panels:
            drawn.append(
                Figure(
                    name="curves",
                    finding=findings.over_epochs(section),
                    caption=findings.spread(section),
                    panels=panels,
                    legend_title=title,
                    legend=legend,
                )
            )
    return drawn


def _rank(section: Section, metric: Metric, palette: Palette) -> Figure:
    shown = section.shown
    ranks = shown["rank"].drop_nulls().unique().sort().to_list()
    x = alt.X(
        "rank:Q",
        title="Rank (log scale)",
        scale=alt.Scale(type="log", base=2, domain=[ranks[0] * 0.85, ranks[-1] * 1.18], nice=False),
        axis=alt.Axis(values=ranks, format="d", grid=False),
    )
    layers = _series(shown.drop_nulls("rank"), x, section, metric, palette)
    level = shown.filter(pl.col("rank").is_null())
    if not level.is_empty():
        base = _base(level, section, metric, palette)
        layers = [
            base.mark_rect(opacity=0.14).encode(y="low:Q", y2="high:Q"),
            base.mark_rule(strokeWidth=2, strokeDash=[6, 4]).encode(y="mean:Q"),
            *layers,
        ]
        if len(level) <= 2:  # more would lie over each other
            layers.append(
                base.mark_text(align="left", dx=4, dy=-7, style="ink-text").encode(
                    x=alt.value(0), y="mean:Q", text="method:N", color=alt.value(None)
                )
            )
    layers += _diverged(section.table.drop_nulls("rank"), "rank", x)
    return Figure(
        name="rank",
        finding=findings.over_rank(section),
        caption=findings.spread(section),
        panels=[Panel("", _layered(layers))],
        legend_title="Method",
        legend=_legend(shown, palette),
    )


def _parameters(section: Section, metric: Metric, palette: Palette) -> Figure:
    shown = section.shown.filter(pl.col("trainable") > 0)
    low, high = shown["trainable"].to_numpy().min(), shown["trainable"].to_numpy().max()
    x = alt.X(
        "trainable:Q",
        title="Trainable parameters (log scale)",
        scale=alt.Scale(type="log", domain=[int(low) / 1.3, int(high) * 1.3], nice=False),
        axis=alt.Axis(format="~s", grid=False, tickCount=6),
    )
    layers = _series(shown, x, section, metric, palette)
    layers += _diverged(section.table.filter(pl.col("trainable") > 0), "trainable", x)
    return Figure(
        name="parameters",
        finding=findings.over_parameters(section),
        caption=findings.spread(section),
        panels=[Panel("", _layered(layers))],
        legend_title="Method",
        legend=_legend(shown, palette),
    )


def _series(
    rows: pl.DataFrame, x: alt.X, section: Section, metric: Metric, palette: Palette
) -> list[alt.Chart]:
    """A line a method with a mark and a bar a configuration."""
    base = _base(rows, section, metric, palette).encode(x=x)
    y = alt.Y("mean:Q", title=metric.axis, scale=alt.Scale(zero=False, nice=True))
    tooltip = [
        alt.Tooltip("label:N", title="configuration"),
        alt.Tooltip("text:N", title=metric.title.lower()),
        alt.Tooltip("range:N", title="smallest to largest"),
        alt.Tooltip("n:Q", title="seeds (n)"),
        alt.Tooltip("trainable:Q", title="trainable parameters", format=","),
    ]
    methods = _methods(section.shown, palette)
    shape = alt.Shape(
        "method:N",
        scale=alt.Scale(domain=methods, range=[palette.shape(m) for m in methods]),
        legend=alt.Legend(title="Method", orient="top", columns=3),
    )
    dash = alt.StrokeDash(
        "method:N",
        scale=alt.Scale(domain=methods, range=[palette.dash(m) for m in methods]),
        legend=None,
    )
    return [
        base.mark_rule(strokeWidth=1.5).encode(y="low:Q", y2="high:Q"),
        base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dash),
        base.mark_point(filled=True, size=64, opacity=1).encode(y=y, shape=shape, tooltip=tooltip),
    ]


def _base(rows: pl.DataFrame, section: Section, metric: Metric, palette: Palette) -> alt.Chart:
    methods = _methods(section.shown, palette)
    colour = alt.Color(
        "method:N",
        scale=alt.Scale(domain=methods, range=[palette.method(m) for m in methods]),
        legend=alt.Legend(title="Method", orient="top", columns=3),
    )
    return alt.Chart(alt.InlineData(values=_values(rows, metric))).encode(color=colour)


def _values(rows: pl.DataFrame, metric: Metric) -> list[dict[str, Any]]:
    return [
        {
            "method": row["method_label"],
            "label": row["label"],
            "rank": row["rank"],
            "trainable": row["trainable"],
            "n": row["n"],
            "text": metric.text_with_spread(row["mean"], row["sd"]),
            "range": f"{metric.text(row['low'])} to {metric.text(row['high'])}",
        }
        | {key: round(row[key] * metric.scale, 4) for key in ("mean", "low", "high")}
        for row in rows.sort("method_label", "rank").to_dicts()
    ]


def _diverged(rows: pl.DataFrame, column: str, x: alt.X) -> list[alt.Chart]:
    """A red × at the foot, with the number of runs that no mean contains."""
    counted = (
        rows.filter(pl.col("diverged") > 0)
        .group_by(column)
        .agg(pl.col("diverged").sum(), pl.col("label").str.join(", "))
        .sort(column)
    )
    values = [
        {column: at, "text": f"×{number}", "tip": f"{number} diverged: {labels}"}
        for at, number, labels in counted.rows()
    ]
    if not values:
        return []
    chart = alt.Chart(alt.InlineData(values=values)).encode(
        x=x,
        y=alt.value("height"),
        text="text:N",
        tooltip=alt.Tooltip("tip:N", title="not averaged"),
    )
    return [chart.mark_text(color=RED, fontWeight="bold", fontSize=13, dy=-8)]


def _layered(layers: list[alt.Chart]) -> alt.LayerChart:
    return alt.layer(*layers).properties(height=HEIGHT + 20)


def _methods(shown: pl.DataFrame, palette: Palette) -> list[str]:
    present = set(shown["method_label"])
    return [method for method in palette.methods if method in present]


def _legend(shown: pl.DataFrame, palette: Palette) -> list[Key]:
    return [Key(method, palette.method(method)) for method in _methods(shown, palette)]
