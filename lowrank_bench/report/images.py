"""Charts as files, and the one script that draws them in a page: nothing from the network."""

import json
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
LINE_ENDS = {0x2028: " ", 0x2029: " "}
PAPER_STYLE: dict[str, Any] = {"version": VEGA_LITE, "config": PAPER}


def svg(figure: Figure) -> str:
    return svg_of(figure.image_spec())


def svg_of(spec: Spec) -> str:
    return painter.svg_of(spec_json(spec), **PAPER_STYLE)


def spec_json(spec: Any) -> str:
    """Specs as JSON that no name can break.

    Vega puts names into its expressions. There U+2028 and U+2029 end a line, and an order of
    names fails with one called 'constructor'; where a scale has a domain, that is the order.
    """
    return as_json(_unordered(spec))


def as_json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.translate(LINE_ENDS)


def _unordered(spec: Any) -> Any:
    if isinstance(spec, list):
        return [_unordered(each) for each in spec]
    if not isinstance(spec, dict):
        return spec
    has_domain = isinstance((spec.get("scale") or {}).get("domain"), list)
    return {
        # of data nothing is a spec
        key: each if key in ("datasets", "values") else _unordered(each)
        for key, each in spec.items()
        if not (key == "sort" and has_domain)
    }


def png(image: str) -> bytes:
    return painter.png(image)


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
