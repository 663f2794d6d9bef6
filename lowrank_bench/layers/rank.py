"""What a rank may be."""

from typing import Any

from lowrank_bench.errors import ConfigError


def check_rank(rank: Any, key: str) -> None:
    """Raise ConfigError, naming `key`, when the rank is not a positive integer."""
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise ConfigError(f"{key}={rank}: must be a positive integer")
