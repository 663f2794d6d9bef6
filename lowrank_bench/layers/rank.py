"""What a rank, a scale or a share may be."""

from math import isfinite, sqrt
from typing import Any

from lowrank_bench.errors import ConfigError


def check_rank(rank: Any, key: str) -> None:
    """Raise ConfigError, naming `key`, when the rank is not a positive integer."""
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise ConfigError(f"{key}={rank}: must be a positive integer")


def is_number(value: Any) -> bool:
    """Whether it is an int or a float, and finite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def check_positive(value: Any, key: str) -> None:
    """Raise ConfigError, naming `key`, when the value is not a positive number."""
    if not is_number(value) or value <= 0:
        raise ConfigError(f"{key}={value}: must be a positive number")


def scale_of(rank: Any, alpha: Any, rank_stabilized: Any) -> float:
    """s of a correction s B A: alpha / r, or alpha / sqrt(r) where `rank_stabilized`.

    Raises: ConfigError for a setting that is none.
    """
    check_rank(rank, "method.adapter.rank")
    check_positive(alpha, "method.adapter.alpha")
    if not isinstance(rank_stabilized, bool):
        raise ConfigError(
            f"method.adapter.rank_stabilized={rank_stabilized}: must be true or false"
        )
    return alpha / (sqrt(rank) if rank_stabilized else rank)
