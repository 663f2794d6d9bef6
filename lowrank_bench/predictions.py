"""What a run said of each test example: `test_predictions.npz`, beside its record.

With it two runs can be compared example by example, and a metric be computed again. Reading needs
NumPy alone.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from lowrank_bench.record import write_atomically

FILE = "test_predictions.npz"
NUM = "num_examples"  # of which the bits of a packed array are
PACKED = "bits_"  # how the name of one begins


def write_predictions(folder: Path, batches: Sequence[dict[str, Any]]) -> None:
    """Keep the arrays of all batches, one value an example, in as few bytes as they need.

    Truths are kept as bits, whole numbers in the narrowest type that holds them, other numbers in
    half precision, which is for comparing examples and not for adding up.
    """
    names = list(batches[0]) if batches else []
    arrays = {name: np.concatenate([np.asarray(b[name].cpu()) for b in batches]) for name in names}
    kept: dict[str, Any] = {NUM: np.asarray(len(next(iter(arrays.values()))) if arrays else 0)}
    for name, array in arrays.items():
        if array.dtype == np.bool_:
            kept[PACKED + name] = np.packbits(array)
        elif np.issubdtype(array.dtype, np.integer):
            kept[name] = array.astype(np.min_scalar_type(array.max(initial=0)))
        else:
            kept[name] = array.astype(np.float16)
    file = io.BytesIO()
    np.savez_compressed(file, **kept)
    write_atomically(folder / FILE, file.getvalue())


def read_predictions(folder: Path) -> dict[str, np.ndarray] | None:
    """The arrays by name; None where the run has none, or none that can be read.

    Nothing in the file is executed: NumPy reads it without pickles.
    """
    try:
        content = io.BytesIO((folder / FILE).read_bytes())
        with np.load(content, allow_pickle=False) as file:
            num = int(file[NUM])
            return {
                name.removeprefix(PACKED): (
                    np.unpackbits(file[name], count=num).astype(bool)
                    if name.startswith(PACKED)
                    else file[name]
                )
                for name in file.files
                if name != NUM
            }
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
