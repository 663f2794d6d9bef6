"""How much of a text is held out, and other whole numbers of a `data` config."""

from typing import Any

import numpy as np

from lowrank_bench.data.splits import split
from lowrank_bench.errors import ConfigError


def check_number(key: str, value: Any, *, least: int, most: int | None = None) -> None:
    """Raise ConfigError unless `value` is a whole number from `least` to `most`."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if is_whole and value >= least and (most is None or value <= most):
        return
    wanted = f"from {least} to {most}" if most is not None else f"of at least {least}"
    raise ConfigError(f"data.{key}={value}: must be a whole number {wanted}")


def check_split(train: int, split_seed: int, adapters: int | None) -> None:
    """Raise ConfigError for a seed that numpy does not take, or more adapters than examples."""
    check_number("split_seed", split_seed, least=0, most=2**32 - 1)
    if adapters is not None:
        check_number("adapters", adapters, least=1, most=train)


def sizes(
    count: int, val_size: float, test_size: float, *, what: str, label: str
) -> tuple[int, int, int]:
    """How many of `count` examples are for training, validation and test.

    A size is a whole number as it is, or a fraction in (0, 1) as a share of all, at least one;
    0 is none.

    Raises: ConfigError for any other, or when nothing is left to train on.
    """
    val = _held_out("val_size", val_size, count, what)
    test = _held_out("test_size", test_size, count, what)
    if count - val - test < 1:
        raise ConfigError(
            f"data.val_size={val_size}: with data.test_size={test_size} nothing is left to train "
            f"on, since {label} makes {count} {what}"
        )
    return count - val - test, val, test


def shares(
    numbers: np.ndarray,
    val_size: float,
    test_size: float,
    split_seed: int,
    adapters: int | None,
    *,
    label: str,
) -> tuple[np.ndarray, ...]:
    """Which of the examples `numbers` are for training, validation and test, each in order.

    Raises: ConfigError as `sizes` does, and for a seed or adapters that cannot be.
    """
    train, val, test = sizes(len(numbers), val_size, test_size, what="examples", label=label)
    check_split(train, split_seed, adapters)
    return tuple(numbers[part] for part in split(len(numbers), val, test, split_seed))


def _held_out(key: str, value: float, count: int, what: str) -> int:
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        if float(value).is_integer():
            return int(value)
        if value < 1:
            return max(1, round(value * count))
    raise ConfigError(
        f"data.{key}={value}: must be a whole number of {what}, or a share of all in [0, 1)"
    )
