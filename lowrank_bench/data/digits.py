"""scikit-learn's digits: 1797 grey 8x8 images with values 0..16, no network, no test set."""

import gzip
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from lowrank_bench.data.arrays import Arrays
from lowrank_bench.errors import ConfigError

FILE = Path("datasets", "data", "digits.csv.gz")  # inside the sklearn package


@cache
def read() -> Arrays:
    """The bundled digits, in the file's order.

    The file is read without scikit-learn: importing `sklearn.datasets` costs 1.4-2.6 s, this
    0.01 s, and the import would load OpenMP into a process that is about to fork.

    Source: sklearn.datasets.load_digits (UCI, Alpaydin and Kaynak 1998).
    Differs: uint8 images of one channel instead of float64 without.
    Raises: ConfigError when scikit-learn is not installed, or not whole.
    """
    package = find_spec("sklearn")  # finds a top-level package without importing it
    if package is None or not package.submodule_search_locations:
        raise ConfigError(
            "data=digits: the images come with scikit-learn, which is not installed; "
            "say 'pip install scikit-learn'"
        )
    path = Path(package.submodule_search_locations[0]) / FILE
    try:
        with gzip.open(path, "rt") as lines:
            table = np.loadtxt(lines, delimiter=",", dtype=np.int64)  # (1797, 65), the label last
    except (OSError, EOFError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); reinstall scikit-learn") from None
    images = table[:, :-1].astype(np.uint8).reshape(-1, 1, 8, 8)  # (n, 1, 8, 8)
    return Arrays(images, table[:, -1].copy())
