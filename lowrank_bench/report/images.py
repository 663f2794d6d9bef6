"""Charts as files, and the one script that draws them in a page: nothing from the network."""

from functools import cache

import vl_convert

from lowrank_bench.report.figure import Figure
from lowrank_bench.report.theme import PAPER

VEGA_LITE = "6.4"  # of those that vl-convert ships, the one that altair writes


def svg(figure: Figure) -> str:
    return vl_convert.vegalite_to_svg(figure.image_spec(), vl_version=VEGA_LITE, config=PAPER)


def png(image: str) -> bytes:
    """An SVG as PNG, at twice its size for screens of today."""
    return vl_convert.svg_to_png(image, scale=2)


@cache  # bundling takes seconds
def javascript() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    return vl_convert.javascript_bundle(vl_version=VEGA_LITE)
