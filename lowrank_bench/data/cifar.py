"""CIFAR-10 and CIFAR-100, read by torchvision.

The files are pickles, which may run code when opened: torchvision opens them only after it has
found the md5 it knows.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lowrank_bench.data import folders
from lowrank_bench.data.arrays import Arrays
from lowrank_bench.data.download import CLASSES, download
from lowrank_bench.errors import ConfigError
from lowrank_bench.names import hint

NAMES = ("cifar10", "cifar100")


def read(name: str, root: str | None = None) -> Arrays:
    """Find `name`, download it when it is nowhere on this machine, and read it once.

    Raises: ConfigError when it cannot be had, or when a file is not whole.
    """
    if name not in NAMES:
        raise ConfigError(f"data.name={name}: no such set of images{hint(name, NAMES)}")
    given = folders.given(root)
    dataset = _dataset(name)
    files = [[file] for file, _ in _md5s(dataset)]
    places = [*folders.system(name), folders.cache()]
    if given is not None:
        places = [given, *places]
    place = folders.first_with(files, places)
    if place is None:
        place = given or folders.cache()
        try:
            download(name, place)
        except OSError as error:
            raise ConfigError(
                f"data={name}: no folder has {', '.join(file for [file] in files)}; looked in "
                f"{', '.join(map(str, places))}; the download failed ({error}); unpack "
                f"{dataset.url} in a folder and say data.root=<that folder>"
            ) from None
    return _read(name, place)


@cache
def _read(name: str, place: Path) -> Arrays:
    dataset = _dataset(name)
    try:
        parts = [dataset(place, train=train, download=False) for train in (True, False)]
    except RuntimeError as error:
        raise ConfigError(_corrupt(dataset, place) or f"{place}: {error}") from None
    arrays = []
    for part in parts:
        images = np.ascontiguousarray(part.data.transpose(0, 3, 1, 2))  # (n, 3, 32, 32)
        arrays += [images, np.asarray(part.targets, dtype=np.int64)]
    return Arrays(*arrays)


def _dataset(name: str) -> Any:
    import torchvision.datasets  # brings torch along, so never at the top of this file

    return getattr(torchvision.datasets, CLASSES[name])


def _md5s(dataset: Any) -> list[tuple[str, str]]:
    """Each file torchvision will open, below the root, and its md5."""
    meta = (dataset.meta["filename"], dataset.meta["md5"])
    listed = [*dataset.train_list, *dataset.test_list, meta]
    return [(f"{dataset.base_folder}/{file}", md5) for file, md5 in listed]


def _corrupt(dataset: Any, place: Path) -> str | None:
    from torchvision.datasets.utils import check_integrity

    for file, md5 in _md5s(dataset):
        if not check_integrity(place / file, md5):
            return (
                f"{place / file}: its md5 is not {md5}; replace it by a whole copy, or remove it "
                "to have it downloaded"
            )
    return None
