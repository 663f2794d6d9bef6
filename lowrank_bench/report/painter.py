"""Charts as files, in a process of its own: `python painter.py FOLDER`.

It reads numbers, one a line, and draws FOLDER/N.json as FOLDER/N.svg and, once both are whole,
FOLDER/N.png; what is FOLDER/N.taken is drawn by another. It imports nothing of the package,
which would take longer than a figure.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import vl_convert

EMPTY = '{"mark": "point"}'


def svg_of(spec: str, version: str, config: dict[str, Any]) -> str:
    """A Vega-Lite spec, as JSON, as SVG."""
    return vl_convert.vegalite_to_svg(spec, vl_version=version, config=config)


def png(image: str) -> bytes:
    """An SVG as PNG, at twice its size for screens of today."""
    return vl_convert.svg_to_png(image, scale=2)


def main(folder: Path) -> None:
    style = json.loads((folder / "style.json").read_text(encoding="utf-8"))
    png(svg_of(EMPTY, **style))  # the first chart takes a second, in which nobody waits yet
    for line in sys.stdin:
        if (folder / f"{int(line)}.taken").exists():
            continue
        spec = (folder / f"{int(line)}.json").read_text(encoding="utf-8")
        image = svg_of(spec, **style)
        (folder / f"{int(line)}.svg").write_text(image, encoding="utf-8")
        unfinished = folder / f"{int(line)}.unfinished"
        unfinished.write_bytes(png(image))
        os.replace(unfinished, folder / f"{int(line)}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
