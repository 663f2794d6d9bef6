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
    _check_ratio(min_ratio)

    def ratio(update: int) -> float:
        if update < warmup_updates:
            return (update + 1) / warmup_updates
        progress = min(1.0, (update - warmup_updates) / max(1, num_updates - warmup_updates))
        return min_ratio + (1 - min_ratio) * (1 + math.cos(math.pi * progress)) / 2

    return LambdaLR(optimizer, ratio)


def jagged_cosine(
    optimizer: Optimizer,
    num_updates: int,
    *,
    cycle_length: float,
    warmup: float,
    restart_warmup: float,
    min_ratio: float,
) -> LambdaLR:
    """A cosine that falls to zero at each restart and warms up again, back to where it was.

    With N updates, w of them a warm-up, cycles of F, q of them a restart's warm-up, and
    cos(p) = min_ratio + (1 - min_ratio) (1 + cos(pi p)) / 2:

        u < w:                   u / w
        u >= F and u mod F < q:  (u mod F) / q * cos((floor(u / F) F + q - w) / (N - w))
        else:                    cos((u - w) / (N - w))

    Update kF, which a restart follows, runs at a rate of 0, and so does the first of a warm-up.
    All lengths are spans (see spans.py); q is at least 1.

    Source: Lialin 2023, section 3, arXiv 2307.05695, in the form of its code.
    Differs: the code wants N to be a multiple of F; here the last cycle may be shorter.
    Raises: ConfigError for a span that is none, warm-ups that do not fit into a cycle, or a
    ratio outside [0, 1].
    """
    key = "method.schedule"
    cycle = span(f"{key}.cycle_length", cycle_length, num_updates)
    first = span(f"{key}.warmup", warmup, num_updates)
    again = max(1, span(f"{key}.restart_warmup", restart_warmup, num_updates))
    _check_ratio(min_ratio)
    if not (first <= cycle and again < cycle and first < num_updates):
        raise ConfigError(
            f"{key}.cycle_length={cycle_length}: {cycle} of {num_updates} updates have no room "
            f"for warm-ups of {first} and, at a restart, {again}"
        )

    def falling(update: int) -> float:
        progress = min(1.0, (update - first) / (num_updates - first))
        return min_ratio + (1 - min_ratio) * (1 + math.cos(math.pi * progress)) / 2

    def ratio(update: int) -> float:
        if update < first:
            return update / first
        since = update % cycle
        if update >= cycle and since < again:
            return since / again * falling(update - since + again)
        return falling(update)

    return LambdaLR(optimizer, ratio)


def _check_ratio(min_ratio: float) -> None:
    if not isinstance(min_ratio, int | float) or not 0 <= min_ratio <= 1:
        raise ConfigError(f"method.schedule.min_ratio={min_ratio}: must lie in [0, 1]")
