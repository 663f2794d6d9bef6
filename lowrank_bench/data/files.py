"""Which files `data.path` names, and what they hold."""

import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from glob import glob, has_magic
from pathlib import Path

from lowrank_bench.errors import ConfigError
from lowrank_bench.package_path import located


def files(path: str | Sequence[str], suffixes: Collection[str]) -> list[Path]:
    """The files that `data.path` names: a file, a pattern, a folder with all below it, or a list
    of these. Patterns and folders are sorted; of a folder, files with `suffixes` count.

    Raises: ConfigError when there is none, or one ends in something else.
    """
    found: list[Path] = []
    for each in path if isinstance(path, list | tuple) else [path]:
        if not isinstance(each, str) or not each:
            raise ConfigError(f"data.path={each}: must be a file, a folder or a pattern")
        place = os.path.expanduser(located(each, key="data.path"))
        if os.path.isdir(place):
            below = sorted(file for file in Path(place).rglob("*") if file.suffix in suffixes)
            here = [file for file in below if file.is_file()]
        elif has_magic(place) and not os.path.exists(place):
            here = [Path(file) for file in sorted(glob(place, recursive=True))]
        else:
            here = [Path(place)]
        if not here:
            raise ConfigError(f"data.path={each}: holds no file that ends in {_or(suffixes)}")
        found += here
    if not found:
        raise ConfigError(f"data.path={path}: names no file")
    for file in found:
        if not file.is_file():
            raise ConfigError(f"data.path={file}: there is no such file")
        if file.suffix not in suffixes:
            raise ConfigError(f"data.path={file}: must end in {_or(suffixes)}")
    return [file.absolute() for file in found]


def checksum(paths: Sequence[Path]) -> str:
    """The first 16 hex digits of the sha256 over the files' endings, sizes and bytes."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.suffix};{_checksum(path, *_stamp(path))};".encode())
    return digest.hexdigest()[:16]


def local(path: str) -> Iterator[Path]:
    """All files below a folder, in a stable order."""
    return (file for file in sorted(Path(path).rglob("*")) if file.is_file())


def _stamp(path: Path) -> tuple[int, int]:
    stat = os.stat(path)
    return stat.st_size, stat.st_mtime_ns


@cache  # once for all runs of a sweep, which inherit it, and anew when the file has changed
def _checksum(path: Path, size: int, changed_ns: int) -> str:
    try:
        with open(path, "rb") as file:
            return f"{size};{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise ConfigError(f"data.path={path}: cannot be read ({error.strerror})") from None


def _or(suffixes: Collection[str]) -> str:
    *others, last = suffixes
    return f"{', '.join(others)} or {last}" if others else last
