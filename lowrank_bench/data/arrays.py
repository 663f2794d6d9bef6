"""What every reader returns: images and labels as numpy arrays.

Nothing on the way here imports torch, so that the parent process of a sweep can read the data
once, cheaply, and its forked children find it in memory.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class Arrays:
    """Labelled images; the test part is None where the source brings none of its own."""

    train_x: np.ndarray  # (n, c, h, w) uint8
    train_y: np.ndarray  # (n,) int64
    test_x: np.ndarray | None = None
    test_y: np.ndarray | None = None

    def __post_init__(self) -> None:
        assert (self.test_x is None) == (self.test_y is None)
        for x, y in ((self.train_x, self.train_y), (self.test_x, self.test_y)):
            if x is not None and y is not None:
                assert x.dtype == np.uint8 and x.ndim == 4, (x.dtype, x.shape)
                assert y.dtype == np.int64 and y.shape == x.shape[:1], (y.dtype, y.shape, x.shape)

    @cached_property
    def checksum(self) -> str:
        """The first 16 hex digits of the sha256 over shapes, types and bytes."""
        digest = hashlib.sha256()
        for array in (self.train_x, self.train_y, self.test_x, self.test_y):
            if array is None:
                digest.update(b"none;")
            else:
                digest.update(f"{array.shape} {array.dtype.str};".encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]
