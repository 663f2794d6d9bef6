"""How charts look on paper and on the two grounds of the page."""

from typing import Any

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"


def config(ink: str, faint: str, grid: str, *, has_legend: bool) -> dict[str, Any]:
    """A Vega-Lite config; marks with the style 'ink' follow the ground they are on."""
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "axis": {
            "labelColor": faint,
            "titleColor": faint,
            "titleFontWeight": "normal",
            "titlePadding": 8,
            "gridColor": grid,
            "domainColor": grid,
            "tickColor": grid,
            "labelFontSize": 11,
            "titleFontSize": 12,
            "labelOverlap": True,
        },
        "title": {
            "anchor": "start",
            "color": ink,
            "subtitleColor": faint,
            "fontSize": 15,
            "offset": 12,
            "subtitlePadding": 6,
        },
        "legend": {
            "disable": not has_legend,  # the page has its own, which wraps
            "orient": "top",
            "columns": 8,
            "labelColor": ink,
            "titleColor": faint,
            "labelLimit": 320,
            "symbolOpacity": 1,
            "symbolStrokeWidth": 2.5,
        },
        "style": {"ink": {"color": ink}},
    }


LIGHT = config("#1b1f24", "#57606a", "#e4e7eb", has_legend=False)
DARK = config("#e6e9ed", "#9aa4b0", "#2d333b", has_legend=False)
PAPER = config("#1b1f24", "#57606a", "#e4e7eb", has_legend=True) | {
    "background": "white",
    "padding": 16,
}
