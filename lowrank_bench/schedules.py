"""Learning-rate curves over optimizer updates, counted from 0.

Each is `(optimizer, num_updates) -> LRScheduler`. All are multiplicative, so the ratios
between parameter groups survive every step.
"""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lowrank_bench.errors import ConfigError


def constant(optimizer: Optimizer, num_updates: int, *, warmup_fraction: float) -> LambdaLR:
    """lr(u) = lr * min(1, (u + 1) / w), with w = warmup_fraction * num_updates.

    The first update already moves: u + 1, not u. `warmup_fraction` 0 is no warm-up.
    Raises: ConfigError for a fraction outside [0, 1].
    """
    warmup = _updates(warmup_fraction, num_updates)
    return LambdaLR(optimizer, lambda u: min(1.0, (u + 1) / warmup) if warmup else 1.0)


def cosine(
    optimizer: Optimizer, num_updates: int, *, warmup_fraction: float, min_ratio: float
) -> LambdaLR:
    """Linear warm-up, then lr(u) = lr * (q + (1 - q) * (1 + cos(pi p)) / 2).

    q is `min_ratio` and p runs from 0 at the end of the warm-up to 1 at `num_updates`.

    Source: Loshchilov and Hutter 2017, eq. 5, arXiv 1608.03983, without restarts.
    Raises: ConfigError for a fraction or a ratio outside [0, 1].
    """
    warmup = _updates(warmup_fraction, num_updates)
    if not isinstance(min_ratio, int | float) or not 0 <= min_ratio <= 1:
        raise ConfigError(f"method.schedule.min_ratio={min_ratio}: must lie in [0, 1]")

    def ratio(update: int) -> float:
        if update < warmup:
            return (update + 1) / warmup
        progress = min(1.0, (update - warmup) / max(1, num_updates - warmup))
        return min_ratio + (1 - min_ratio) * (1 + math.cos(math.pi * progress)) / 2

    return LambdaLR(optimizer, ratio)


def _updates(fraction: float, num_updates: int) -> int:
    if not isinstance(fraction, int | float) or not 0 <= fraction <= 1:
        raise ConfigError(
            f"method.schedule.warmup_fraction={fraction}: must be a share of all updates, 0 to 1"
        )
    return round(fraction * num_updates)
