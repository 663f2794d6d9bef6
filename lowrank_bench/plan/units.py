"""Bytes with their unit: GiB is 2^30 of them, GB is 10^9."""

import re

from lowrank_bench.errors import ConfigError

UNITS = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
BINARY = ("B", "KiB", "MiB", "GiB", "TiB")


def parsed(text: str, key: str) -> int:
    """The bytes of `text`, e.g. 24GiB or 80GB. Raises: ConfigError naming `key`."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", text)
    if found is None or found[2] not in UNITS or float(found[1]) <= 0:
        raise ConfigError(
            f"{key}={text}: must be a number with a unit, e.g. 24GiB (2^30 bytes) or 24GB (10^9); "
            f"units are {', '.join(UNITS)}"
        )
    return int(float(found[1]) * UNITS[found[2]])


def unit_for(num_bytes: int) -> str:
    """The largest binary unit of which there is at least one."""
    return next((unit for unit in reversed(BINARY) if num_bytes >= UNITS[unit]), "B")


def told(num_bytes: float | None, unit: str) -> str:
    """The number without its unit, to three digits where it has fewer before the point."""
    if num_bytes is None:
        return "–"
    value = num_bytes / UNITS[unit]
    digits = 0 if unit == "B" or value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def with_unit(num_bytes: float) -> str:
    unit = unit_for(int(num_bytes))
    return f"{told(num_bytes, unit)}\u00a0{unit}"


def magnitude(value: float) -> str:
    """A count with the SI letter, e.g. 1.34 M."""
    for size, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}\u00a0{letter}"
    return f"{value:.3g}"
