"""Where mixed precision must not reach."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

_depth = 0  # of regions for tensors without values


def uncast(device: torch.device) -> AbstractContextManager[object]:
    """Autocast off for `device`: moments, merges and SVDs are not for half precision.

    For tensors without values (device `meta`) torch has no autocast to turn off; who casts them
    in its place asks `is_uncast`.
    """
    if device.type == "meta":
        return _without_values()
    return torch.autocast(device.type, enabled=False)


def is_uncast() -> bool:
    """Whether this is within such a region of tensors without values."""
    return _depth > 0


@contextmanager
def _without_values() -> Iterator[None]:
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
