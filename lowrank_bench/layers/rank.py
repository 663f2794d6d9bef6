"""What a rank, a scale or a share may be."""

from math import isfinite
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
