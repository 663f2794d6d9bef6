"""A figure is one finding and its panels: for a page that sets the width, or as one image."""

import textwrap
from dataclasses import dataclass, field
from typing import Any

import altair as alt

PANEL_WIDTH = 340
HEIGHT = 260

TOP = {"$schema": alt.SCHEMA_URL}

Values = list[dict[str, Any]]


@dataclass(frozen=True)
class Key:
    """One entry of a legend."""

    label: str
    colour: str
    dash: str = ""  # as in SVG
    mark: str = ""  # the outline of its marks, as an SVG path around 0, 0


Spec = dict[str, Any]


@dataclass(frozen=True)
class Panel:
    title: str
    spec: Spec  # layers and height, without a width


def layered(title: str, layers: list[alt.Chart], height: int = HEIGHT) -> Panel:
    """The layers as Vega-Lite reads them.

    Put together here: Altair's own `layer` and `concat` copy and look through all that they hold
    over and over, which takes 0.4 s of a figure of ten panels.
    """
    specs = [layer.to_dict(validate=False, context={"top_level": False}) for layer in layers]
    return Panel(title, {"layer": specs, "height": height})


@dataclass(frozen=True)
class Figure:
    name: str  # of its files
    finding: str
    caption: str
    panels: list[Panel]
    datasets: dict[str, Values]  # that the panels' charts name
    legend_title: str = ""
    legend: list[Key] = field(default_factory=list)

    def page_specs(self) -> list[Spec]:
        """One Vega-Lite spec a panel, as wide as its place in the page; data apart."""
        return [TOP | panel.spec | {"width": "container"} for panel in self.panels]

    def image_spec(self) -> Spec:
        """The same panels side by side under the finding, with their data."""
        columns = min(len(self.panels), 3)
        # a lone panel is widened, so that its title fits
        width = PANEL_WIDTH if columns > 1 else 2 * PANEL_WIDTH
        panels = [
            {
                "layer": [layer for layer in panel.spec["layer"] if not _is_unseen(layer)],
                "height": panel.spec["height"],
                "width": width,
                "title": {"text": panel.title, "fontSize": 12},
            }
            for panel in self.panels
        ]
        title = {
            "text": textwrap.wrap(self.finding, columns * (width + 40) // 8),
            "subtitle": textwrap.wrap(self.caption, columns * width // 7),
        }
        shared = {"scale": {"color": "shared", "shape": "shared"}}
        whole = {"concat": panels, "columns": columns, "title": title, "resolve": shared}
        return TOP | whole | {"datasets": self.datasets}


def _is_unseen(layer: Spec) -> bool:
    """Marks that only carry tooltips have no use in an image."""
    return layer["mark"].get("opacity") == 0


@dataclass(frozen=True)
class Datasets:
    """Data by name: a spec that holds its rows would be checked row by row, and repeat them."""

    by_name: dict[str, Values] = field(default_factory=dict)

    def chart(self, name: str, values: Values) -> alt.Chart:
        self.by_name[name] = values
        return alt.Chart(alt.NamedData(name=name))
