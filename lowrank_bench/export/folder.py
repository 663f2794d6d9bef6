"""A folder that is there whole, or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lowrank_bench.errors import ConfigError


def check_free(out: Path) -> None:
    """Raise ConfigError when something stands where the export is to go, or nothing can."""
    if os.path.lexists(out):
        raise ConfigError(f"OUT={out}: exists already; name a folder that does not")
    place = out.absolute().parent
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise ConfigError(f"OUT={out}: {place} is a file, not a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ConfigError(f"OUT={out}: {place} cannot be written")


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """A hidden neighbour of `out` to write to; it takes the name at the end, or is removed.

    Raises: ConfigError when `out` exists by then, or cannot be written.
    """
    check_free(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        neighbour = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise ConfigError(f"OUT={out}: cannot be written ({error.strerror})") from None
    try:
        yield neighbour
        # mkdtemp's 0700 and safetensors' 0600 would hide it from one's colleagues.
        for path in (neighbour, *neighbour.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        check_free(out)
        neighbour.rename(out)
    except BaseException:
        shutil.rmtree(neighbour, ignore_errors=True)
        raise


def size(folder: Path) -> int:
    """Bytes of all files in `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
