"""The images of many figures, on two cores.

Drawing holds Python's lock for as long as it takes, so that threads gain nothing; and a process
with polars in it must not be forked. Most of many figures go to a fresh one.
"""

import json
import os
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from lowrank_bench.report.figure import Figure, Spec
from lowrank_bench.report.images import png, svg_of

FEW = 6  # figures, which are drawn before another process would have begun


@contextmanager
def drawing(figures: Mapping[str, Figure]) -> Iterator[Callable[[], dict[str, bytes]]]:
    """Begin to draw; what is given returns `NAME.svg` and `NAME.png` of each figure.

    Ask for them late: until then the other process draws beside whatever is done here.
    """
    specs = {name: figure.image_spec() for name, figure in figures.items()}
    names = list(specs)
    # a bit more than half, since the rest of the report is made here
    theirs = [name for i, name in enumerate(names) if i % 5 in (0, 2, 4)]
    if len(names) <= FEW or (os.cpu_count() or 1) == 1:
        theirs = []
    beside = _start({name: specs[name] for name in theirs}) if theirs else None

    def images() -> dict[str, bytes]:
        files = drawn({name: specs[name] for name in names if name not in theirs})
        files |= _finished(beside) or drawn({name: specs[name] for name in theirs})
        return {name: files[name] for each in names for name in (f"{each}.svg", f"{each}.png")}

    try:
        yield images
    finally:
        if beside is not None:
            _end(beside)


def drawn(specs: Mapping[str, Spec]) -> dict[str, bytes]:
    files = {}
    for name, spec in specs.items():
        image = svg_of(spec)
        files |= {f"{name}.svg": image.encode(), f"{name}.png": png(image)}
    return files


def _start(specs: Mapping[str, Spec]) -> "subprocess.Popen[bytes] | None":
    line = [sys.executable, "-c", f"from {__name__} import main; main()"]
    try:
        process = subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError:
        return None
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as its:  # it reads all before it draws
        its.write(json.dumps(specs).encode())
    return process


def _finished(process: "subprocess.Popen[bytes] | None") -> dict[str, bytes] | None:
    """What the other one drew; None when it could not, and the figures are left to us."""
    if process is None:
        return None
    assert process.stdout is not None
    told = process.stdout.read()
    if process.wait():
        return None
    return {name: b64decode(content) for name, content in json.loads(told).items()}


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()  # if the report failed meanwhile; one that has ended takes no harm
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def main() -> None:
    files = drawn(json.load(sys.stdin))
    json.dump({name: b64encode(content).decode() for name, content in files.items()}, sys.stdout)
