"""What a page says above its controls: of studies, and of what two sets of records differ in."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lowrank_bench.record import find
from lowrank_bench.report.load import Loaded, gather, nothing
from lowrank_bench.report.study.build import has_compact, study_parts
from lowrank_bench.report.study_part import StudyPart


def gathered(paths: Sequence[Path]) -> Loaded:
    """The records below `paths`; none where a study's compact table stands for them.

    Raises: what `gather` raises.
    """
    of_records = [path for path in paths if not _is_compact(path)]
    return gather(of_records) if of_records else nothing()


def parts(paths: Sequence[Path], loaded: Loaded) -> list[StudyPart]:
    """Those of two sets of the same runs first, then one a study."""
    found = study_parts(paths, loaded)
    if len(paths) == 2 and not any(map(_is_compact, paths)):
        # SciPy takes a second, which other reports need not wait for
        from lowrank_bench.report.drift import drift
        from lowrank_bench.report.drift_part import drift_part

        if (difference := drift(paths)) is not None:
            found = [drift_part(difference, 1), *found]
    return [replace(part, number=i + 1) for i, part in enumerate(found)]


def _is_compact(path: Path) -> bool:
    return path.is_dir() and has_compact(path) and next(find(path), None) is None
