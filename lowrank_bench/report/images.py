"""Charts as files, and the one script that draws them in a page: nothing from the network."""

import os
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from lowrank_bench.record import write_atomically
from lowrank_bench.report import painter
from lowrank_bench.report.figure import Figure, Spec
from lowrank_bench.report.theme import PAPER

# the release that altair writes for, as vl-convert names it: 'v6.4.1' is '6.4'
VEGA_LITE = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
PAPER_STYLE: dict[str, Any] = {"version": VEGA_LITE, "config": PAPER}


def svg(figure: Figure) -> str:
    return svg_of(figure.image_spec())


def svg_of(spec: Spec) -> str:
    return painter.svg_of(spec, **PAPER_STYLE)


@cache
def javascript() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script.

    Bundling takes seconds, and gives the same for one vl-convert: it is kept on disk.
    """
    name = f"vega-{VEGA_LITE}-{version('vl-convert-python')}.js"
    kept = (
        Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lowrank_bench" / name
    )
    with suppress(OSError, UnicodeDecodeError):
        return kept.read_text(encoding="utf-8")
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    with suppress(OSError):  # a home that cannot be written
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, script)
    return script
