"""Where the studies of a report are, and what each is read from.

A study is a folder with `study.json`. Its runs come from records, or, where these are not at
hand, from the compact table beside it.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from lowrank_bench.errors import ConfigError
from lowrank_bench.protocol import ledger
from lowrank_bench.protocol.ledger import DUPLICATES, Ledger
from lowrank_bench.protocol.study import FILE, FINAL, Study
from lowrank_bench.record import find
from lowrank_bench.report import allocation
from lowrank_bench.report.label import with_labels
from lowrank_bench.report.load import RUNS, Loaded, gather

RANKS = "study_ranks.csv"  # what allocators gave to each layer; beside the compact table


def folders(paths: Sequence[Path]) -> list[Path]:
    """The given folders, and those directly below them, that hold a study."""
    found: dict[Path, Path] = {}
    for path in paths:
        below = sorted(path.iterdir()) if path.is_dir() else []
        for folder in (path, *(each for each in below if not each.name.startswith("."))):
            if (folder / ledger.FILE).is_file():
                found.setdefault(folder.resolve(), folder)
    return list(found.values())


def has_compact(path: Path) -> bool:
    """Whether a study below `path` can be drawn without any record."""
    return any((folder / FILE).is_file() for folder in folders([path]))


def read(folder: Path, loaded: Loaded | None) -> Study:
    """The study in `folder`, from `loaded` where that holds any run of it.

    Raises: ConfigError when one of its files is something else.
    """
    told = Ledger.read(folder)
    runs = pl.DataFrame(schema=RUNS) if loaded is None else loaded.runs
    of_records = Study.of(told, runs, _duplicates(folder))
    if of_records.runs.is_empty() and (folder / FILE).is_file():
        return Study.read(folder)
    return of_records


def _duplicates(folder: Path) -> pl.DataFrame:
    """Finals that were trained twice lie in a hidden folder, so that nothing counts them."""
    hidden = folder / DUPLICATES
    if not hidden.is_dir() or next(find(hidden), None) is None:
        return pl.DataFrame(schema=RUNS)
    return with_labels(gather([hidden])).runs


def read_ranks(folder: Path, study: Study, loaded: Loaded | None) -> pl.DataFrame:
    """What allocators gave to each layer in the finals, from records or from the file beside."""
    finals = study.stage(FINAL).filter(pl.col("status") == "finished")
    if loaded is not None and finals["path"].is_not_null().any():
        named = finals.select("fingerprint", "arm", "method_label").join(
            loaded.runs.select("fingerprint", "run"), on="fingerprint", maintain_order="left"
        )
        rows = named.select("run", "arm", "method_label").rows()
        return allocation.allocations(
            (loaded.records[run], arm, method) for run, arm, method in rows
        )
    if not (folder / RANKS).is_file():
        return pl.DataFrame(schema=allocation.SCHEMA)
    try:
        return pl.read_csv(folder / RANKS, schema=allocation.SCHEMA)
    except pl.exceptions.PolarsError as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{folder / RANKS}: not a table of ranks ({reason})") from None
