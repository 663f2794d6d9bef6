"""Charts as files, and the one script that draws them in a page: nothing from the network."""

from functools import cache

import altair as alt
import vl_convert

from lowrank_bench.report.figure import Figure
from lowrank_bench.report.theme import PAPER

# the release that altair writes for, as vl-convert names it: 'v6.4.1' is '6.4'
VEGA_LITE = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])


def svg(figure: Figure) -> str:
    return vl_convert.vegalite_to_svg(figure.image_spec(), vl_version=VEGA_LITE, config=PAPER)


def png(image: str) -> bytes:
    """An SVG as PNG, at twice its size for screens of today."""
    return vl_convert.svg_to_png(image, scale=2)


@cache  # bundling takes seconds
def javascript() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
