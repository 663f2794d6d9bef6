"""Metric against epoch: one panel while few curves fit in it, else one panel a method."""

from typing import Any

import altair as alt
import polars as pl

from lowrank_bench.report.figure import HEIGHT, Key, Panel
from lowrank_bench.report.metric import Metric
from lowrank_bench.report.palette import METHODS, Palette
from lowrank_bench.report.section import Section

FEW = len(METHODS)
MOST_POINTS = 200  # a curve; more cannot be seen in a panel


def curve_panels(
    section: Section, metric: Metric, palette: Palette
) -> tuple[list[Panel], str, list[Key]]:
    """The panels, and the title and entries of the legend that they share."""
    frame = _thinned(section.curves).join(
        section.shown.select("method_hash", "method_label", "label", "rank", "place"),
        on="method_hash",
    )
    if frame.is_empty():
        return [], "", []
    present = set(frame["method_label"])
    methods = [method for method in palette.methods if method in present]
    y = _y_axis(frame, metric)
    if frame["label"].n_unique() <= FEW:
        return _together(frame, methods, metric, y)
    return _apart(frame, methods, metric, y, palette)


def _together(
    frame: pl.DataFrame, methods: list[str], metric: Metric, y: alt.Y
) -> tuple[list[Panel], str, list[Key]]:
    order = sorted(
        frame.select("method_label", "rank", "label").unique().rows(),
        key=lambda row: (methods.index(row[0]), row[1] or 0, row[2]),
    )
    legend = [Key(row[2], METHODS[i]) for i, row in enumerate(order)]
    series = frame.with_columns(pl.col("label").alias("series"))
    return [Panel("", _panel(series, legend, "Configuration", metric, y))], "Configuration", legend


def _apart(
    frame: pl.DataFrame, methods: list[str], metric: Metric, y: alt.Y, palette: Palette
) -> tuple[list[Panel], str, list[Key]]:
    """Ranks in a sequential palette; what has no rank is the dashed line in each panel."""
    ranks = frame["rank"].drop_nulls().unique().sort().to_list()
    legend = [Key(f"r{rank}", palette.rank(rank)) for rank in ranks]
    ranked = frame.drop_nulls("rank").with_columns(pl.format("r{}", "rank").alias("series"))
    level = frame.filter(pl.col("rank").is_null()).sort("place")
    reference = level.filter(pl.col("label") == level["label"][0]) if len(level) else None
    panels = [
        Panel(method, _panel(rows, legend, "Rank", metric, y, reference))
        for method in methods
        if not (rows := ranked.filter(pl.col("method_label") == method)).is_empty()
    ]
    if level["label"].n_unique() > 1 or not panels:
        named = [method for method in methods if method in set(level["method_label"])]
        keys = [Key(method, palette.method(method)) for method in named]
        rows = level.with_columns(pl.col("method_label").alias("series"))
        panels.insert(0, Panel("without a rank", _panel(rows, keys, "Method", metric, y)))
        legend = keys + legend
    return panels, "Rank" if ranks else "Method", legend


def _panel(
    rows: pl.DataFrame,
    legend: list[Key],
    title: str,
    metric: Metric,
    y: alt.Y,
    reference: pl.DataFrame | None = None,
) -> alt.LayerChart:
    x = alt.X(
        "epoch:Q",
        title="Epoch",
        scale=alt.Scale(nice=False, zero=True),
        axis=alt.Axis(tickMinStep=1, format="d", grid=False, tickCount=5),
    )
    colour = alt.Color(
        "series:N",
        scale=alt.Scale(domain=[key.label for key in legend], range=[key.colour for key in legend]),
        sort=None,
        legend=alt.Legend(
            title=title, orient="top", columns=8 if title == "Rank" else 3, symbolType="stroke"
        ),
    )
    base = alt.Chart(alt.InlineData(values=_values(rows, metric))).encode(x=x, color=colour)
    layers: list[alt.Chart] = []
    if reference is not None:
        layers += _reference(reference, x, y, metric)
    if (rows["n"] > 1).any():
        layers.append(
            base.mark_area(opacity=0.18).encode(y=alt.Y("low:Q", title=metric.axis), y2="high:Q")
        )
    tooltip = [
        alt.Tooltip("label:N", title="configuration"),
        alt.Tooltip("epoch:Q"),
        alt.Tooltip("text:N", title=metric.title.lower()),
        alt.Tooltip("n:Q", title="seeds (n)"),
    ]
    layers.append(base.mark_line(strokeWidth=1.8).encode(y=y))
    # unseen marks, which are easier to hit than a line
    layers.append(base.mark_point(opacity=0, size=50, filled=True).encode(y=y, tooltip=tooltip))
    return alt.layer(*layers).properties(height=HEIGHT)


def _reference(rows: pl.DataFrame, x: alt.X, y: alt.Y, metric: Metric) -> list[alt.Chart]:
    values = _values(rows, metric)
    base = alt.Chart(alt.InlineData(values=values)).encode(x=x)
    last = alt.Chart(alt.InlineData(values=values[-1:])).encode(x=x, y=y, text="label:N")
    return [
        base.mark_line(style="ink", strokeWidth=1.5, strokeDash=[5, 3]).encode(y=y),
        last.mark_text(style="ink-text", align="right", dy=12, fontSize=11),
    ]


def _values(rows: pl.DataFrame, metric: Metric) -> list[dict[str, Any]]:
    has_series = "series" in rows.columns
    return [
        {
            "label": row["label"],
            "epoch": row["epoch"],
            "n": row["n"],
            "text": metric.text_with_spread(row["mean"], row["sd"]),
        }
        | ({"series": row["series"]} if has_series else {})
        | {key: round(row[key] * metric.scale, 3) for key in ("mean", "low", "high")}
        for row in rows.sort("label", "epoch").to_dicts()
    ]


def _y_axis(frame: pl.DataFrame, metric: Metric) -> alt.Y:
    """One scale for all panels, so that heights may be compared across them."""
    low, high = (
        frame["low"].to_numpy().min() * metric.scale,
        frame["high"].to_numpy().max() * metric.scale,
    )
    room = 0.04 * (high - low or abs(high) or 1.0)
    domain = [round(float(low - room), 3), round(float(high + room), 3)]
    return alt.Y("mean:Q", title=metric.axis, scale=alt.Scale(domain=domain, nice=False))


def _thinned(curves: pl.DataFrame) -> pl.DataFrame:
    """Every k-th epoch of long curves, and always the last."""
    step = 1 + (pl.len().over("method_hash") - 1) // MOST_POINTS
    number = pl.int_range(pl.len()).over("method_hash")
    return curves.filter((number % step == 0) | (number == pl.len().over("method_hash") - 1))
