"""From folders with studies to their parts of a report, and the files beside it."""

from collections.abc import Sequence
from pathlib import Path

from lowrank_bench.record import find
from lowrank_bench.report.label import with_labels
from lowrank_bench.report.load import Loaded, gather
from lowrank_bench.report.study import found
from lowrank_bench.report.study.found import has_compact
from lowrank_bench.report.study_part import StudyPart

__all__ = ["has_compact", "study_files", "study_parts"]


def study_parts(paths: Sequence[Path], loaded: Loaded | None) -> list[StudyPart]:
    """One part for each study in `paths` or directly below.

    `loaded` is what was read of the same paths, with labels; None where there are no records.
    Raises: ConfigError when a file of a study is something else.
    """
    folders = found.folders(paths)
    if not folders:
        return []
    # SciPy takes a second, which reports without a study need not wait for
    from lowrank_bench.report.study.part import part, view_of

    # of several folders, one run may be in two, of which `loaded` has only the newer
    views = [view_of(f, loaded if len(paths) == 1 else _own(f)) for f in folders]
    names = ["study"] if len(views) == 1 else [f"study-{i + 1}" for i in range(len(views))]
    return [part(view, i + 1, names[i]) for i, view in enumerate(views)]


def _own(folder: Path) -> Loaded | None:
    if next(find(folder), None) is None:
        return None
    return with_labels(gather([folder]))


def study_files(paths: Sequence[Path], loaded: Loaded | None) -> dict[str, bytes]:
    """By name: tables as CSV, Markdown and LaTeX, and what the studies are drawn again from."""
    return {
        name: content for part in study_parts(paths, loaded) for name, content in part.files.items()
    }
