"""The images of many figures, on two cores.

Drawing holds Python's lock for as long as it takes, so that threads gain nothing; and a process
with polars in it must not be forked. A fresh one begins while the records are read, and draws
from the first figure on; who waits for the images draws from the last.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import sleep

from lowrank_bench.report import painter
from lowrank_bench.report.figure import Figure, Spec
from lowrank_bench.report.images import PAPER_STYLE, png, spec_json, svg_of

FEW = 4  # figures, which the other process has drawn before this one would have begun


class Drawing:
    """Figures that are being drawn."""

    def __init__(self, folder: Path, beside: "subprocess.Popen[str] | None") -> None:
        self._folder, self._beside = folder, beside
        self._specs: dict[str, Spec] = {}

    def begin(self, figures: Mapping[str, Figure]) -> None:
        """Draw these too; their images will have these names."""
        for name, figure in figures.items():
            number = len(self._specs)
            self._specs[name] = figure.image_spec()
            if self._beside is not None and self._beside.stdin is not None:
                content = spec_json(self._specs[name])
                (self._folder / f"{number}.json").write_text(content, encoding="utf-8")
                with suppress(BrokenPipeError):  # it has died, and all is drawn here
                    print(number, file=self._beside.stdin, flush=True)

    def images(self) -> dict[str, bytes]:
        """`NAME.svg` and `NAME.png` of each figure."""
        names = list(self._specs)
        own: dict[str, bytes] = {}
        while left := [n for n, name in enumerate(names) if not self._has(n, name, own)]:
            is_alone = self._beside is None or self._beside.poll() is not None
            # the first is being drawn
            if is_alone or len(left) > (1 if own else FEW):
                (self._folder / f"{left[-1]}.taken").touch()
                own |= drawn({names[left[-1]]: self._specs[names[left[-1]]]})
            else:
                sleep(0.01)
        files: dict[str, bytes] = {}
        for number, name in enumerate(names):
            for kind in ("svg", "png"):
                file = f"{name}.{kind}"
                path = self._folder / f"{number}.{kind}"
                files[file] = own[file] if file in own else path.read_bytes()
        return files

    def _has(self, number: int, name: str, own: Mapping[str, bytes]) -> bool:
        return f"{name}.png" in own or (self._folder / f"{number}.png").exists()


@contextmanager
def drawing() -> Iterator[Drawing]:
    """Begin early, ask for the images late: until then the other process draws beside."""
    with tempfile.TemporaryDirectory(prefix="lowrank-report-") as temporary:
        folder = Path(temporary)
        beside = _start(folder) if (os.cpu_count() or 1) > 1 else None
        try:
            yield Drawing(folder, beside)
        finally:
            if beside is not None:
                _end(beside)


def drawn(specs: Mapping[str, Spec]) -> dict[str, bytes]:
    files = {}
    for name, spec in specs.items():
        image = svg_of(spec)
        files |= {f"{name}.svg": image.encode(), f"{name}.png": png(image)}
    return files


def _start(folder: Path) -> "subprocess.Popen[str] | None":
    (folder / "style.json").write_text(json.dumps(PAPER_STYLE), encoding="utf-8")
    # -P: the script's folder has modules with names that others may have too
    line = [sys.executable, "-P", painter.__file__, str(folder)]
    silent = subprocess.DEVNULL
    try:
        return subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=silent, stderr=silent, text=True
        )
    except OSError:
        return None


def _end(process: "subprocess.Popen[str]") -> None:
    process.kill()  # it may be at what was drawn here meanwhile
    process.wait()
    with suppress(BrokenPipeError):
        assert process.stdin is not None
        process.stdin.close()
