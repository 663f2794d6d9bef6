"""Images in memory as bytes, made floats batch by batch."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from torch import Tensor

from lowrank_bench.data.altered import altered
from lowrank_bench.data.arrays import Arrays
from lowrank_bench.data.splits import split
from lowrank_bench.errors import ConfigError
from lowrank_bench.objectives.classification import Classification


@dataclass(frozen=True, eq=False)
class TensorSplit:
    """One part of a data set: x / scale, on the device that x is on.

    `ids`, if any, say which adapter of a bank each image belongs to.
    """

    x: Tensor  # (n, c, h, w) uint8
    y: Tensor  # (n,) int64
    scale: float
    ids: Tensor | None = field(default=None, kw_only=True)  # (n,) int64

    def __post_init__(self) -> None:
        assert self.x.dtype == torch.uint8  # fetch divides in place: float() must be a copy

    def __len__(self) -> int:
        return len(self.y)

    def fetch(self, index: slice | Tensor) -> tuple[Tensor, Tensor]:
        """The images (float32) and labels at `index`."""
        if isinstance(index, Tensor):
            # index_select gathers bytes 3.5 times as fast as x[index] on a CPU
            index = index.to(self.x.device)
            x, y = self.x.index_select(0, index), self.y.index_select(0, index)
        else:
            x, y = self.x[index], self.y[index]
        return x.float().div_(self.scale), y

    def count(self, index: slice | Tensor) -> int:
        """The number of labels at `index`."""
        return len(self.y[index])

    def fetch_ids(self, index: slice | Tensor) -> Tensor | None:
        """The adapter ids at `index`; None where the images have none."""
        if self.ids is None or isinstance(index, slice):
            return None if self.ids is None else self.ids[index]
        return self.ids.index_select(0, index.to(self.ids.device))

    def to(self, device: torch.device | str) -> "TensorSplit":
        """A copy on `device`."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(
            self, **{key: v.to(device) for key, v in values.items() if isinstance(v, Tensor)}
        )


@dataclass(frozen=True, eq=False)
class StandardizedSplit(TensorSplit):
    """(x / scale - mean) / std, per channel."""

    mean: Tensor  # (c, 1, 1)
    std: Tensor  # (c, 1, 1)

    def fetch(self, index: slice | Tensor) -> tuple[Tensor, Tensor]:
        x, y = super().fetch(index)
        return x.sub_(self.mean).div_(self.std), y


class ImageData:
    """A data set, split: `train`, `val` and `test`, the latter two None when empty.

    x is (n, c, h, w) float32; flattening is the model's business. With `adapters`, image i of
    each part belongs to adapter i mod adapters. `classes`, `quarter_turns` and `permutation_seed`
    alter the task: see altered.py. `root` is here for the reader to interpolate.

    Raises: ConfigError for sizes that do not fit, or a declaration that the images contradict.
    """

    def __init__(
        self,
        *,
        name: str,
        reader: Arrays,
        shape: Sequence[int],
        num_classes: int,
        scale: float,
        mean: Sequence[float],
        std: Sequence[float],
        val_size: int,
        test_size: int | None,
        split_seed: int,
        root: str | None = None,
        adapters: int | None = None,
        classes: Sequence[int] | None = None,
        quarter_turns: int = 0,
        permutation_seed: int | None = None,
    ) -> None:
        self.name = name
        self.shape = tuple(shape)
        self.num_classes = num_classes
        self.checksum = reader.checksum
        self.objective = Classification(name, num_classes)
        self.root = root
        self.adapters = adapters
        reader = altered(
            reader,
            classes=classes,
            quarter_turns=quarter_turns,
            permutation_seed=permutation_seed,
        )
        self._check_declared(reader)
        self._scaling = _scaling(self.shape[0], scale, mean, std)
        held_test = _held_test(name, reader, test_size)
        _check_sizes(len(reader.train_y), val_size, held_test)
        _check_number("split_seed", split_seed, below=2**32)  # all that numpy takes
        if adapters is not None:
            _check_number("adapters", adapters, least=1, below=len(reader.train_y))

        train, val, test = split(len(reader.train_y), val_size, held_test, split_seed)
        self.train = self._tensors(reader.train_x, reader.train_y, train)
        self.val = self._tensors(reader.train_x, reader.train_y, val) if len(val) else None
        self.test = self._tensors(reader.train_x, reader.train_y, test) if len(test) else None
        if reader.test_x is not None and reader.test_y is not None:
            whole = np.arange(len(reader.test_y))
            self.test = self._tensors(reader.test_x, reader.test_y, whole)

    def _tensors(self, x: np.ndarray, y: np.ndarray, index: np.ndarray) -> TensorSplit:
        if len(index) < len(y):  # otherwise the whole, which is shared and not copied
            x, y = x[index], y[index]
        kind = StandardizedSplit if "mean" in self._scaling else TensorSplit
        ids = None if self.adapters is None else torch.arange(len(y)) % self.adapters
        return kind(torch.from_numpy(x), torch.from_numpy(y), ids=ids, **self._scaling)

    def _check_declared(self, arrays: Arrays) -> None:
        found = arrays.train_x.shape[1:]
        if found != self.shape:
            raise ConfigError(
                f"data.shape={list(self.shape)}: the images of {self.name} are {list(found)}"
            )
        labels = arrays.train_y if arrays.test_y is None else np.r_[arrays.train_y, arrays.test_y]
        if (labels.min(), labels.max()) != (0, self.num_classes - 1):
            raise ConfigError(
                f"data.num_classes={self.num_classes}: the labels of {self.name} are "
                f"{labels.min()} to {labels.max()}"
            )


def _scaling(num_channels: int, scale: float, mean: Sequence[float], std: Sequence[float]) -> dict:
    """What a split needs beside its tensors; no mean and std where they would change nothing."""
    if not scale > 0:
        raise ConfigError(f"data.scale={scale}: must be above 0")
    for key, values in (("mean", mean), ("std", std)):
        if len(values) != num_channels:
            raise ConfigError(f"data.{key}={list(values)}: needs {num_channels}, one a channel")
    if not all(value > 0 for value in std):
        raise ConfigError(f"data.std={list(std)}: must be above 0")
    if all(value == 0 for value in mean) and all(value == 1 for value in std):
        return {"scale": scale}
    column = {"dtype": torch.float32, "device": "cpu"}
    return {
        "scale": scale,
        "mean": torch.tensor(list(mean), **column).view(-1, 1, 1),  # (c, 1, 1)
        "std": torch.tensor(list(std), **column).view(-1, 1, 1),  # (c, 1, 1)
    }


def _held_test(name: str, arrays: Arrays, test_size: int | None) -> int:
    """How many training images become test images."""
    if arrays.test_y is not None:
        if test_size is not None:
            raise ConfigError(
                f"data.test_size={test_size}: {name} brings {len(arrays.test_y)} test images of "
                "its own; say data.test_size=null"
            )
        return 0
    if test_size is None:
        raise ConfigError(
            f"data.test_size=null: {name} brings no test images of its own; say how many of the "
            f"{len(arrays.train_y)} to hold out, 0 for none"
        )
    return test_size


def _check_sizes(count: int, val_size: int, test_size: int) -> None:
    _check_number("test_size", test_size, below=count)
    _check_number("val_size", val_size, below=count)
    if val_size + test_size >= count:
        raise ConfigError(
            f"data.val_size={val_size}: with data.test_size={test_size} nothing is left to train "
            f"on of {count} images"
        )


def _check_number(key: str, value: int, *, below: int, least: int = 0) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < below:
        raise ConfigError(f"data.{key}={value}: must be a whole number from {least} to {below - 1}")
