"""Where mixed precision must not reach."""

from contextlib import AbstractContextManager, nullcontext

import torch


def uncast(device: torch.device) -> AbstractContextManager[object]:
    """Autocast off for `device`: moments, merges and SVDs are not for half precision.

    Tensors without values (device `meta`) are never cast by torch, which refuses to be asked.
    """
    if device.type == "meta":
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
