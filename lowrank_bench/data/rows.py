"""Rows of tables, read one after the other by Hugging Face datasets.

Streaming, so that nothing is copied into the cache that datasets keeps of its own: a file is
read once, and what is kept are its tokens.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lowrank_bench.errors import ConfigError
from lowrank_bench.names import hint

READERS = {".jsonl": "json", ".parquet": "parquet", ".csv": "csv"}  # of datasets, by ending
BATCH = 256  # rows read at once


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a .jsonl, .parquet or .csv file; none of an empty one.

    Raises: ConfigError when datasets is not installed, or the file is not what its ending says.
    """
    if path.stat().st_size == 0:
        return
    yield from loaded(
        f"data.path={path}",
        READERS[path.suffix],
        data_files=[str(path)],
        split="train",
    )


def loaded(label: str, *args: Any, **options: Any) -> Iterator[dict[str, Any]]:
    """The rows of `datasets.load_dataset(*args, **options)`, streaming.

    Raises: ConfigError, which begins with `label`, for whatever goes wrong on the way.
    """
    try:
        import datasets
    except ImportError:
        raise ConfigError(f"{label}: needs datasets; pip install 'lowrank-bench[hf]'") from None
    # datasets leaves a lock file for each set that it has opened
    with _one_line(label), TemporaryDirectory(prefix="lowrank-bench-") as locks:
        rows = iter(datasets.load_dataset(*args, streaming=True, cache_dir=locks, **options))
    while True:
        with _one_line(label):
            some = list(islice(rows, BATCH))
        if not some:
            return
        yield from some


def text_in(row: dict[str, Any], column: str, label: str, *, key: str = "column") -> str:
    """What stands in a column; nothing where it is null.

    Raises: ConfigError when there is no such column, or it does not hold text.
    """
    value = value_in(row, column, label, key=key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ConfigError(
            f"data.{key}={column}: holds {type(value).__name__}, not text, in {label}"
        )
    return value


def value_in(row: dict[str, Any], column: str, label: str, *, key: str) -> Any:
    """What stands in a column.

    Raises: ConfigError when there is no such column.
    """
    if column not in row:
        raise ConfigError(f"data.{key}={column}: no such column in {label}{hint(column, [*row])}")
    return row[column]


@contextmanager
def _one_line(label: str) -> Iterator[None]:
    """What goes wrong is one line of ours; datasets and the hub would say it each in their way."""
    speakers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    levels = [speaker.level for speaker in speakers]
    for speaker in speakers:
        speaker.setLevel(logging.CRITICAL)
    try:
        yield
    except Exception as error:  # each format and each place of files has its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{label}: cannot be read ({reason})") from None
    finally:
        for speaker, level in zip(speakers, levels, strict=True):
            speaker.setLevel(level)
