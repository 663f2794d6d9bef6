"""The plane of learning and forgetting: the target against what is left of the source."""

from typing import Any

import altair as alt
import polars as pl

from lowrank_bench.report import encoding, findings
from lowrank_bench.report.adaptation import frontier
from lowrank_bench.report.figure import PANEL_WIDTH, Datasets, Figure, Values, layered
from lowrank_bench.report.metric import Metric
from lowrank_bench.report.naming import Box, Spot, placed
from lowrank_bench.report.palette import Palette
from lowrank_bench.report.section import Section

WIDTH, HEIGHT = 2 * PANEL_WIDTH, 400  # WIDTH of the image; a page gives more
ROOM = 0.06  # of the span, around what is drawn


def plane(section: Section, palette: Palette) -> Figure | None:
    """A mark a configuration, larger with its rank; None where no source was asked about."""
    target, source = section.metric, section.source_metric
    if target is None or source is None:
        return None
    shown = section.shown.drop_nulls(["mean", "source_mean"])
    if shown.is_empty():
        return None
    data = Datasets()
    before = shown["source_before"].mean()
    before = float(before) * source.scale if isinstance(before, int | float) else None
    xs = _domain([*shown["low"], *shown["high"]], target.scale)
    known = [] if before is None else [before / source.scale]
    ys = _domain([*shown["source_low"], *shown["source_high"], *known], source.scale)
    axes = _Axes(target, source, xs, ys)
    layers = [
        *([] if before is None else _before(before, source, axes, data)),
        _frontier(frontier(shown, target, source), axes, data),
        *_marks(shown, axes, data, palette),
        *_names(shown, axes, data, palette, before),
    ]
    return Figure(
        name="forgetting",
        finding=findings.over_forgetting(section),
        caption=_caption(section, shown, target, source),
        panels=[layered("", layers, HEIGHT)],
        datasets=data.by_name,
        legend_title="Method",
        legend=[palette.key(method) for method in encoding.methods(shown, palette)],
    )


class _Axes:
    def __init__(
        self, target: Metric, source: Metric, xs: tuple[float, float], ys: tuple[float, float]
    ) -> None:
        self.target, self.source, self.xs, self.ys = target, source, xs, ys

    def x(self, field: str) -> alt.X:
        scale = alt.Scale(domain=list(self.xs), nice=False, zero=False)
        return alt.X(f"{field}:Q", title=self.target.axis, scale=scale)

    def y(self, field: str) -> alt.Y:
        scale = alt.Scale(domain=list(self.ys), nice=False, zero=False)
        title = self.source.axis.replace(" (", " after adaptation (", 1)
        return alt.Y(f"{field}:Q", title=title, scale=scale)

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """Where a point lies in the image."""
        (left, right), (bottom, top) = self.xs, self.ys
        return WIDTH * (x - left) / (right - left), HEIGHT * (top - y) / (top - bottom)


def _domain(values: list[float], scale: float) -> tuple[float, float]:
    low, high = scale * min(values), scale * max(values)
    room = ROOM * (high - low or abs(high) or 1.0)
    return round(low - room, 4), round(high + room, 4)


def _before(value: float, source: Metric, axes: _Axes, data: Datasets) -> list[alt.Chart]:
    """What the base knew, as a line across."""
    text = f"the base before: {source.text(value / source.scale)}"
    base = data.chart("before", [{"y": round(value, 4), "text": text}]).encode(y=axes.y("y"))
    return [
        base.mark_rule(style="ink", strokeWidth=1.2, strokeDash=[6, 4], opacity=0.7),
        base.mark_text(
            style="ink", align="left", baseline="bottom", dx=5, dy=-3, fontSize=11
        ).encode(x=alt.value(0), text="text:N"),
    ]


def _frontier(rows: pl.DataFrame, axes: _Axes, data: Datasets) -> alt.Chart:
    """The best of one that is to be had at each level of the other: a stair, nothing between."""
    values = [
        {
            "x": round(row["mean"] * axes.target.scale, 4),
            "y": round(row["source_mean"] * axes.source.scale, 4),
        }
        for row in rows.to_dicts()
    ]
    stair = "step-before" if axes.target.higher_is_better else "step-after"
    return (
        data.chart("frontier", values)
        .mark_line(style="ink", interpolate=stair, strokeWidth=6, opacity=0.16)
        .encode(x=axes.x("x"), y=axes.y("y"))
    )


def _marks(shown: pl.DataFrame, axes: _Axes, data: Datasets, palette: Palette) -> list[alt.Chart]:
    """Bars over seeds in both directions, a thin line from rank to rank, and a mark each."""
    base = data.chart("points", _values(shown, axes)).encode(color=encoding.colour(shown, palette))
    at = base.encode(x=axes.x("x"), y=axes.y("y"))
    tooltip = [
        alt.Tooltip("label:N", title="configuration"),
        alt.Tooltip("learned:N", title=axes.target.title.lower()),
        alt.Tooltip("kept:N", title=axes.source.title.lower()),
        alt.Tooltip("forgot:N", title=f"forgot ({axes.source.difference_unit})"),
        alt.Tooltip("n:Q", title="seeds (n)"),
    ]
    bar = base.mark_rule(strokeWidth=1.2, opacity=0.45)
    size = alt.Size("size:Q", scale=None, legend=None)
    return [
        bar.encode(x=axes.x("x_low"), x2="x_high:Q", y=axes.y("y")),
        bar.encode(x=axes.x("x"), y=axes.y("y_low"), y2="y_high:Q"),
        encoding.line(at.encode(order="rank:Q"), shown, palette, 1.2),
        at.mark_point(filled=True, opacity=1).encode(
            shape=encoding.shape(shown, palette), size=size, tooltip=tooltip
        ),
    ]


def _values(shown: pl.DataFrame, axes: _Axes) -> Values:
    ranks = shown["rank"].drop_nulls().unique().sort().to_list()
    x, y = axes.target.scale, axes.source.scale
    return [
        {
            "method": row["method_label"],
            "label": row["label"],
            "rank": row["rank"],
            "n": row["n"],
            "size": _size(row["rank"], ranks),
            "learned": axes.target.text_with_spread(row["mean"], row["sd"]),
            "kept": axes.source.text_with_spread(row["source_mean"], row["source_sd"]),
            "forgot": axes.source.difference(row["forgetting_mean"]),
            "x": round(row["mean"] * x, 4),
            "y": round(row["source_mean"] * y, 4),
            **{f"x_{end}": round(row[end] * x, 4) for end in ("low", "high")},
            **{f"y_{end}": round(row[f"source_{end}"] * y, 4) for end in ("low", "high")},
        }
        for row in shown.sort("method_label", "rank").to_dicts()
    ]


def _size(rank: int | None, ranks: list[int]) -> int:
    """The area of a mark."""
    if rank is None or len(ranks) < 2:
        return 70
    return 30 + 90 * ranks.index(rank) // (len(ranks) - 1)


def _names(
    shown: pl.DataFrame, axes: _Axes, data: Datasets, palette: Palette, before: float | None
) -> list[alt.Chart]:
    """A method's name beside its highest rank, as long as there is room for it."""
    drawn_values = _values(shown, axes)
    on_frontier = set(frontier(shown, axes.target, axes.source)["method_label"])
    ends = {value["method"]: value for value in drawn_values}  # by rank: the last one stays
    order = sorted(ends.values(), key=lambda end: end["method"] not in on_frontier)
    places = placed(
        [Spot(end["method"], *axes.pixel(end["x"], end["y"])) for end in order],
        [axes.pixel(value["x"], value["y"]) for value in drawn_values],
        WIDTH,
        HEIGHT,
        taken=[] if before is None else _beside_the_base(axes.pixel(0, before)[1]),
        thin=[box for value in drawn_values for box in _bars(value, axes)],
    )
    values: Values = [
        {
            "method": place.text,
            "x": ends[place.text]["x"],
            "y": ends[place.text]["y"],
            "align": place.align,
            "dx": place.dx,
            "dy": place.dy,
        }
        for place in places
    ]
    drawn = []
    for align, dx, dy in sorted({(v["align"], v["dx"], v["dy"]) for v in values}):
        same = [v for v in values if (v["align"], v["dx"], v["dy"]) == (align, dx, dy)]
        drawn.append(
            data.chart(f"names {align} {dx} {dy}", same)
            .mark_text(align=align, baseline="middle", dx=dx, dy=dy, fontSize=11, fontWeight=600)
            .encode(
                x=axes.x("x"),
                y=axes.y("y"),
                text="method:N",
                color=encoding.colour(shown, palette),
            )
        )
    return drawn


def _beside_the_base(y: float) -> list[Box]:
    """The line across and its text."""
    return [(0, y - 2, WIDTH, y + 2), (0, y - 18, 160, y)]


def _bars(value: dict[str, Any], axes: _Axes) -> list[Box]:
    x, y = axes.pixel(value["x"], value["y"])
    left, bottom = axes.pixel(value["x_low"], value["y_low"])
    right, top = axes.pixel(value["x_high"], value["y_high"])
    return [(left, y - 1, right, y + 1), (x - 1, top, x + 1, bottom)]


def _caption(section: Section, shown: pl.DataFrame, target: Metric, source: Metric) -> str:
    across = "right" if target.higher_is_better else "left"
    up = "up" if source.higher_is_better else "down"
    said = [f"Better is {up} and to the {across}; the grey stair joins what nothing beats in both."]
    if shown["rank"].n_unique() > 1:
        said.append("Marks grow with the rank, and thin lines join the ranks of a method.")
    if (section.table["n"] > 0).sum() > len(shown):
        said.append("Not all configurations are shown: see the table.")
    return " ".join([*said, findings.spread(section)])
