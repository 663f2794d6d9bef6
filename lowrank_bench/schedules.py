"""Learning-rate curves over optimizer updates, counted from 0.

Each is `(optimizer, num_updates) -> LRScheduler`. All are multiplicative, so the ratios
between parameter groups survive every step.
"""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lowrank_bench.errors import ConfigError
from lowrank_bench.spans import span


def constant(optimizer: Optimizer, num_updates: int, *, warmup: float) -> LambdaLR:
    """lr(u) = lr * min(1, (u + 1) / w), over a warm-up of w updates.

    The first update already moves: u + 1, not u. `warmup` is a span (see spans.py); 0 is none.
    Raises: ConfigError for a span that is none.
    """
    warmup_updates = span("method.schedule.warmup", warmup, num_updates)
    return LambdaLR(
        optimizer, lambda u: min(1.0, (u + 1) / warmup_updates) if warmup_updates else 1.0
    )


def cosine(optimizer: Optimizer, num_updates: int, *, warmup: float, min_ratio: float) -> LambdaLR:
    """Linear warm-up, then lr(u) = lr * (q + (1 - q) * (1 + cos(pi p)) / 2).

    q is `min_ratio` and p runs from 0 at the end of the warm-up to 1 at `num_updates`.

    Source: Loshchilov and Hutter 2017, eq. 5, arXiv 1608.03983, without restarts.
    Raises: ConfigError for a span that is none, or a ratio outside [0, 1].
    """
    warmup_updates = span("method.schedule.warmup", warmup, num_updates)
    if not isinstance(min_ratio, int | float) or not 0 <= min_ratio <= 1:
        raise ConfigError(f"method.schedule.min_ratio={min_ratio}: must lie in [0, 1]")

    def ratio(update: int) -> float:
        if update < warmup_updates:
            return (update + 1) / warmup_updates
        progress = min(1.0, (update - warmup_updates) / max(1, num_updates - warmup_updates))
        return min_ratio + (1 - min_ratio) * (1 + math.cos(math.pi * progress)) / 2

    return LambdaLR(optimizer, ratio)
