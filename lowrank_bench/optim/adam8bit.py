"""AdamW whose moments take one byte an element."""

import logging
from typing import Any

from torch.optim import Optimizer

from lowrank_bench.errors import ConfigError


def adam8bit(
    groups: list[dict[str, Any]],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    min_8bit_size: int,
) -> Optimizer:
    """torch's AdamW with m and v quantised in blocks of 256, on a CPU as on a GPU.

    Each block keeps its largest magnitude, and each element the nearest of 256 levels of it,
    finer towards 0. Parameters of fewer than `min_8bit_size` elements keep moments of 32 bits.

    Source: Dettmers 2022, arXiv 2110.02861; the rule is bitsandbytes' own.
    Raises: ConfigError saying what to install, where bitsandbytes is missing.
    """
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # on kernels of no use here
    try:
        from bitsandbytes.optim.adamw import AdamW8bit
    except ImportError:
        raise ConfigError(
            "method.optimizer=adam8bit: bitsandbytes is not installed; "
            "pip install lowrank-bench[adam8bit]"
        ) from None
    return AdamW8bit(
        groups,
        lr=lr,
        betas=betas,
        eps=eps,
        weight_decay=weight_decay,
        min_8bit_size=min_8bit_size,
    )
