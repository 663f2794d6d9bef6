"""Where files of data are looked for, in this order: `data.root`, the system, our own cache."""

import os
from os.path import isdir, isfile  # unlike Path's, false for what one may not look into
from pathlib import Path

from lowrank_bench.errors import ConfigError

SYSTEM = Path("/usr/share/datasets")  # where Debian's dataset-* packages put theirs


def given(root: str | None) -> Path | None:
    """`data.root` as an absolute path.

    Raises: ConfigError when there is no such folder.
    """
    if root is None:
        return None
    path = Path(root).expanduser().absolute()
    if not isdir(path):
        raise ConfigError(f"data.root={root}: there is no such folder")
    return path


def system(name: str) -> list[Path]:
    """The folders a package of the operating system may have put `name` in."""
    spellings = dict.fromkeys((name.replace("_", "-"), name))
    return [SYSTEM / spelling for spelling in spellings]


def cache() -> Path:
    """Our own folder, laid out as torchvision would."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "lowrank_bench" / "data"


def first_with(files: list[list[str]], folders: list[Path]) -> Path | None:
    """The first folder that has at least one spelling of every file, or None."""
    for folder in folders:
        if all(any(isfile(folder / name) for name in spellings) for spellings in files):
            return folder
    return None
