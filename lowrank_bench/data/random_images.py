"""Images that show nothing, drawn from a seed: to measure time and memory by."""

from collections.abc import Sequence
from functools import cache

import numpy as np

from lowrank_bench.data.arrays import Arrays
from lowrank_bench.data.images import ImageData
from lowrank_bench.data.sizes import check_number
from lowrank_bench.errors import ConfigError


def read(*, shape: Sequence[int], num_classes: int, examples: int, seed: int) -> Arrays:
    """`examples` images (c, h, w) of uniform bytes; labels 0 .. k-1 in turn, so that each is there.

    Raises: ConfigError for numbers that cannot be, or fewer examples than classes.
    """
    if len(shape) != 3 or not all(isinstance(n, int) and n > 0 for n in shape):
        raise ConfigError(
            f"data.shape={list(shape)}: must be three positive whole numbers, [channels, height, "
            "width]"
        )
    check_number("num_classes", num_classes, least=2)
    check_number("examples", examples, least=num_classes)
    check_number("seed", seed, least=0, most=2**32 - 1)
    return _drawn(tuple(shape), num_classes, examples, seed)


@cache
def _drawn(shape: tuple[int, ...], num_classes: int, examples: int, seed: int) -> Arrays:
    # RandomState, whose stream numpy promises for ever
    x = np.random.RandomState(seed).randint(0, 256, (examples, *shape), np.uint8)
    return Arrays(x, np.arange(examples) % num_classes)


class RandomImages(ImageData):
    """`reader`'s images as an ImageData, bytes over 255; `examples` and `seed` are the reader's."""

    def __init__(
        self,
        *,
        name: str,
        reader: Arrays,
        shape: Sequence[int],
        num_classes: int,
        examples: int,
        seed: int,
        val_size: int,
        test_size: int,
        adapters: int | None,
    ) -> None:
        self.examples, self.seed = examples, seed
        super().__init__(
            name=name,
            reader=reader,
            shape=shape,
            num_classes=num_classes,
            scale=255,
            mean=[0] * shape[0],
            std=[1] * shape[0],
            val_size=val_size,
            test_size=test_size,
            split_seed=0,
            adapters=adapters,
        )
