"""A figure is one finding and its panels: for a page that sets the width, or as one image."""

import textwrap
from dataclasses import dataclass, field
from typing import Any

import altair as alt

PANEL_WIDTH = 340
HEIGHT = 260


@dataclass(frozen=True)
class Key:
    """One entry of a legend."""

    label: str
    colour: str


@dataclass(frozen=True)
class Panel:
    title: str
    chart: alt.LayerChart


@dataclass(frozen=True)
class Figure:
    name: str  # of its files
    finding: str
    caption: str
    panels: list[Panel]
    legend_title: str = ""
    legend: list[Key] = field(default_factory=list)

    def page_specs(self) -> list[dict[str, Any]]:
        """One Vega-Lite spec a panel, as wide as its place in the page."""
        return [panel.chart.properties(width="container").to_dict() for panel in self.panels]

    def image_spec(self) -> dict[str, Any]:
        """The same panels side by side under the finding."""
        columns = min(len(self.panels), 3)
        # a lone panel is widened, so that its title fits
        width = PANEL_WIDTH if columns > 1 else 2 * PANEL_WIDTH
        panels = [
            panel.chart.properties(width=width, title=alt.Title(panel.title, fontSize=12))
            for panel in self.panels
        ]
        title = alt.Title(
            textwrap.wrap(self.finding, columns * width // 8),
            subtitle=textwrap.wrap(self.caption, columns * width // 7),
        )
        whole = alt.concat(*panels, columns=columns, title=title)
        return whole.resolve_scale(color="shared", shape="shared").to_dict()
