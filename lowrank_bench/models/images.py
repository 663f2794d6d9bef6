"""Images as a network takes them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.rank import check_rank


@dataclass(frozen=True)
class Fit:
    """Images (n, *in_shape) made (n, *shape): grey ones repeated, then resized to a square.

    `channels` and `image_size` (pixels of a side) are None where images stay as they are.
    Resizing is bilinear, smoothed where it makes them smaller.
    Raises: ConfigError for what are no images, or have colours that cannot become `channels`.
    """

    in_shape: Sequence[int]
    channels: int | None
    image_size: int | None

    def __post_init__(self) -> None:
        if len(self.in_shape) != 3:
            raise ConfigError(
                f"model.in_shape={list(self.in_shape)}: must be that of images, (channels, "
                "height, width); choose data with images, or another model"
            )
        for key in ("channels", "image_size"):
            if getattr(self, key) is not None:
                check_rank(getattr(self, key), f"model.{key}")
        if self.channels is not None and self.in_shape[0] not in (1, self.channels):
            raise ConfigError(
                f"model.channels={self.channels}: the images have {self.in_shape[0]} channels, "
                "and only grey ones can be repeated"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        c, h, w = self.in_shape
        side = self.image_size
        return self.channels or c, side or h, side or w

    def __call__(self, x: Tensor) -> Tensor:
        c, *size = self.shape
        if x.shape[1] != c:
            x = x.expand(-1, c, -1, -1)  # (n, c, h, w)
        if list(x.shape[2:]) != size:
            x = F.interpolate(x, size=size, mode="bilinear", antialias=True)
        return x
