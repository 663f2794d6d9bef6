"""Lengths of time on the clock of optimizer updates."""

from lowrank_bench.errors import ConfigError


def span(key: str, value: float, num_updates: int) -> int:
    """Optimizer updates: a whole number as it is, a fraction in [0, 1) as a share of all.

    Raises: ConfigError, naming `key`, for anything else.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and value >= 0:
        if isinstance(value, int) or float(value).is_integer():
            return int(value)
        if value < 1:
            return round(value * num_updates)
    raise ConfigError(
        f"{key}={value}: must be a whole number of updates, or a share of all of them in [0, 1)"
    )
