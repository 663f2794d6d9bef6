"""From folders with records to a report folder: the whole story."""

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from rich.console import Console

from lowrank_bench.errors import ConfigError
from lowrank_bench.report.charts import figures
from lowrank_bench.report.drawing import drawing
from lowrank_bench.report.figure import Figure
from lowrank_bench.report.frames import frames_of
from lowrank_bench.report.label import with_labels
from lowrank_bench.report.load import Loaded, uncollected
from lowrank_bench.report.page import render
from lowrank_bench.report.palette import Palette
from lowrank_bench.report.parts import gathered, parts
from lowrank_bench.report.section import Section, sections
from lowrank_bench.report.study.papers import pdfs
from lowrank_bench.report.terminal import show

Files = dict[str, bytes]


@uncollected()
def report(
    paths: Sequence[Path],
    out: Path,
    *,
    console: Console | None = None,
) -> Path:
    """Write the report on all records below `paths` into `out`; return its `index.html`.

    With a `console`, the findings and ranked tables are printed there too. Everything is made in
    memory before the first file is written, so that a mistake leaves no half report behind.

    Raises: ConfigError when a folder is missing or holds no record, when every record is
    corrupt, or when `out` cannot be written.
    """
    _check_out(out)
    with drawing() as images:
        loaded = gathered(paths)
        for note in loaded.notes:
            print(f"lowrank-report: {note}", file=sys.stderr)
        loaded = with_labels(loaded)
        found = sections(loaded)
        palette = Palette.of(loaded.runs)
        drawn: dict[int, list[Figure]] = {}
        for section in found:
            n = section.number
            drawn[n] = figures(section, palette)
            images.begin({f"figures/section-{n}-{each.name}": each for each in drawn[n]})
        studies = parts(paths, loaded)
        for part in studies:
            n = part.number
            images.begin({f"figures/study-{n}-{each.name}": each for each in part.figures})
        files: Files = _tables(loaded, found)
        for part in studies:
            files |= part.files
        page = render(loaded, found, drawn, title=_title(paths), studies=studies)
        files["index.html"] = page.encode()
        files |= images.images()
        files |= pdfs(files)
    _write(out, files)
    if console is not None:
        show(found, console, studies)
    return out / "index.html"


def _title(paths: Sequence[Path]) -> str:
    return ", ".join(dict.fromkeys(path.resolve().name for path in paths))


def _tables(loaded: Loaded, found: list[Section]) -> Files:
    if not found:  # a study alone, of its compact table
        return {}
    table = pl.concat([section.exported for section in found])
    files = {"table.csv": table.write_csv().encode()}
    for name, frame in frames_of(loaded)._asdict().items():
        if name != "layers" or len(frame):
            files |= {f"{name}.csv": frame.write_csv().encode(), f"{name}.parquet": _parquet(frame)}
    return files


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def _check_out(out: Path) -> None:
    """Find out before the work, not after it, and without writing anything."""
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not existing.is_dir():
        raise ConfigError(f"--out={out}: cannot be written, {existing} is a file")


def _write(out: Path, files: Files) -> None:
    try:
        for name, content in files.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(content)
        # what an earlier report had and this one has not
        figures = out / "figures"
        drawn = (*figures.glob("section-*-*.*"), *figures.glob("study-*-*.*"))
        for old in (*drawn, *out.glob("layers.*"), *out.glob("study*/*.*")):
            if old.relative_to(out).as_posix() not in files:
                old.unlink()
    except OSError as error:
        raise ConfigError(f"--out={out}: cannot be written ({error.strerror})") from None
