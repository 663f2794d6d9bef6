"""How a method is drawn, the same in every figure."""

import altair as alt
import polars as pl

from lowrank_bench.report.palette import METHODS, Palette


def methods(shown: pl.DataFrame, palette: Palette) -> list[str]:
    present = set(shown["method_label"])
    return [method for method in palette.methods if method in present]


def colour(shown: pl.DataFrame, palette: Palette) -> alt.Color:
    names = methods(shown, palette)
    colours = [palette.method(method) for method in names]
    return alt.Color("method:N", title="Method", scale=alt.Scale(domain=names, range=colours))


def shape(shown: pl.DataFrame, palette: Palette) -> alt.Shape:
    names = methods(shown, palette)
    shapes = [palette.shape(method) for method in names]
    return alt.Shape("method:N", title="Method", scale=alt.Scale(domain=names, range=shapes))


def line(base: alt.Chart, shown: pl.DataFrame, palette: Palette, width: float = 2) -> alt.Chart:
    """A line a method; colours come round again after a few, and then dashes tell lines apart."""
    drawn = base.mark_line(strokeWidth=width)
    if len(palette.methods) <= len(METHODS):
        return drawn
    names = methods(shown, palette)
    # Under other names: legends of one domain are one, and would have marks with dashed edges.
    dashes = alt.Scale(
        domain=[f"{method} " for method in names], range=[palette.dash(method) for method in names]
    )
    return drawn.transform_calculate(dash="datum.method + ' '").encode(
        strokeDash=alt.StrokeDash("dash:N", scale=dashes, legend=None)
    )
