"""Metric against epoch: one panel while few curves fit in it, else one panel a method."""

from dataclasses import dataclass

import altair as alt
import polars as pl

from lowrank_bench.report.figure import Datasets, Key, Panel, Values, layered
from lowrank_bench.report.metric import Metric
from lowrank_bench.report.palette import METHODS, Palette
from lowrank_bench.report.section import Section

FEW = len(METHODS)
MOST_POINTS = 200  # a curve; more cannot be seen in a panel

Drawn = tuple[list[Panel], str, list[Key]]


@dataclass(frozen=True)
class Axes:
    """One pair of axes for all panels, so that heights may be compared across them."""

    x: alt.X
    y_title: str
    y_domain: tuple[float, float]

    @classmethod
    def of(cls, frame: pl.DataFrame, metric: Metric) -> "Axes":
        low = metric.scale * min(frame["low"].to_list())
        high = metric.scale * max(frame["high"].to_list())
        room = 0.04 * (high - low or abs(high) or 1.0)
        x = alt.X(
            "epoch:Q",
            title="Epoch",
            scale=alt.Scale(nice=False, zero=True),
            axis=alt.Axis(values=_whole_ticks(max(frame["epoch"])), format="d", grid=False),
        )
        return cls(x, metric.axis, (round(low - room, 3), round(high + room, 3)))

    def y(self, column: str) -> alt.Y:
        scale = alt.Scale(domain=list(self.y_domain), nice=False)
        return alt.Y(f"{column}:Q", title=self.y_title, scale=scale)


def _whole_ticks(last: int) -> list[int]:
    """At most six round numbers from 0: an axis left to itself puts ticks between epochs."""
    steps = (factor * 10**power for power in range(12) for factor in (1, 2, 5))
    step = next(step for step in steps if last / step <= 5)
    return list(range(0, last + 1, step))


def curve_panels(section: Section, metric: Metric, palette: Palette, data: Datasets) -> Drawn:
    """The panels, and the title and entries of the legend that they share."""
    frame = _thinned(section.curves).join(
        section.shown.select("method_hash", "method_label", "label", "rank", "place"),
        on="method_hash",
    )
    if frame.is_empty():
        return [], "", []
    present = set(frame["method_label"])
    methods = [method for method in palette.methods if method in present]
    axes = Axes.of(frame, metric)
    if frame["label"].n_unique() <= FEW:
        return _together(frame, methods, metric, axes, data)
    return _apart(frame, methods, metric, axes, palette, data)


def _together(
    frame: pl.DataFrame, methods: list[str], metric: Metric, axes: Axes, data: Datasets
) -> Drawn:
    order = sorted(
        frame.select("method_label", "rank", "label").unique().rows(),
        key=lambda row: (methods.index(row[0]), row[1] or 0, row[2]),
    )
    legend = [Key(row[2], METHODS[i]) for i, row in enumerate(order)]
    values = _values(frame, "label", metric)
    chart = _panel(data.chart("curves", values), values, legend, "Configuration", metric, axes)
    return [layered("", chart)], "Configuration", legend


def _apart(
    frame: pl.DataFrame,
    methods: list[str],
    metric: Metric,
    axes: Axes,
    palette: Palette,
    data: Datasets,
) -> Drawn:
    """Ranks in a sequential palette; the best without a rank is the dashed line in each."""
    ranks = frame["rank"].drop_nulls().unique().sort().to_list()
    legend = [Key(f"r{rank}", palette.rank(rank)) for rank in ranks]
    ranked = frame.drop_nulls("rank").with_columns(pl.format("r{}", "rank").alias("series"))
    level = frame.filter(pl.col("rank").is_null()).sort("place")
    dashed, reference = "", []
    if len(level):
        best = level.filter(pl.col("label") == level["label"][0])
        dashed = f" (dashed: {level['label'][0]})"
        reference = [
            data.chart("dashed", _values(best, "label", metric))
            .mark_line(style="ink", strokeWidth=1.5, strokeDash=[5, 3])
            .encode(x=axes.x, y=axes.y("mean"))
        ]
    panels = []
    for i, method in enumerate(methods):
        rows = ranked.filter(pl.col("method_label") == method)
        if rows.is_empty():
            continue
        values = _values(rows, "series", metric)
        layers = _panel(data.chart(f"curves {i}", values), values, legend, "Rank", metric, axes)
        panels.append(layered(method + dashed, [*reference, *layers]))
    if level["label"].n_unique() > 1 or not panels:
        named = [method for method in methods if method in set(level["method_label"])]
        keys = [Key(method, palette.method(method)) for method in named]
        values = _values(level, "method_label", metric)
        layers = _panel(data.chart("levels", values), values, keys, "Method", metric, axes)
        panels.insert(0, layered("without a rank", layers))
        legend = keys + legend
    return panels, "Rank" if ranks else "Method", legend


def _panel(
    base: alt.Chart, values: Values, legend: list[Key], title: str, metric: Metric, axes: Axes
) -> list[alt.Chart]:
    colour = alt.Color(
        "series:N",
        title=title,
        scale=alt.Scale(domain=[key.label for key in legend], range=[key.colour for key in legend]),
        sort=None,
    )
    base = base.encode(x=axes.x, color=colour)
    tooltip = [
        alt.Tooltip("label:N", title="configuration"),
        alt.Tooltip("epoch:Q"),
        alt.Tooltip("text:N", title=metric.title.lower()),
        alt.Tooltip("n:Q", title="seeds (n)"),
    ]
    layers = [base.mark_line(strokeWidth=1.8).encode(y=axes.y("mean"))]
    if any(value["n"] > 1 for value in values):
        layers.insert(
            0, base.mark_area(fillOpacity=0.18).encode(y=axes.y("low"), y2=alt.Y2("high:Q"))
        )
    # unseen marks, which are easier to hit than a line
    layers.append(
        base.mark_point(opacity=0, size=50, filled=True).encode(y=axes.y("mean"), tooltip=tooltip)
    )
    return layers


def _values(rows: pl.DataFrame, series: str, metric: Metric) -> Values:
    return [
        {
            "series": row[series],
            "label": row["label"],
            "epoch": row["epoch"],
            "n": row["n"],
            "text": metric.text_with_spread(row["mean"], row["sd"]),
        }
        | {key: round(row[key] * metric.scale, 3) for key in ("mean", "low", "high")}
        for row in rows.sort("label", "epoch").to_dicts()
    ]


def _thinned(curves: pl.DataFrame) -> pl.DataFrame:
    """Every k-th epoch of long curves, and always the last."""
    length = pl.len().over("method_hash")
    number = pl.int_range(pl.len()).over("method_hash")
    step = 1 + (length - 1) // MOST_POINTS
    return curves.filter((number % step == 0) | (number == length - 1))
