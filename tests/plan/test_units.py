"""Sizes have units, and 24 GiB are not 24 GB."""

import pytest

from lowrank_bench.errors import ConfigError
from lowrank_bench.plan.units import magnitude, parsed, unit_for, with_unit


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [("24GiB", 24 * 2**30), ("24 GB", 24 * 10**9), ("1.5MiB", 3 * 2**19), ("80kB", 80_000)],
)
def test_binary_and_decimal_units_are_kept_apart(text: str, num_bytes: int) -> None:
    assert parsed(text, "--fits") == num_bytes


@pytest.mark.parametrize("text", ["24", "24G", "GiB", "-1GiB", "0GiB", "1e3GB", "24 gib", ""])
def test_a_size_without_a_known_unit_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--fits=.*must be a number with a unit, e\.g\. 24GiB"):
        parsed(text, "--fits")


def test_numbers_are_told_to_three_digits() -> None:
    told = [with_unit(n).replace("\u00a0", " ") for n in (0, 1023, 1024, 123_456_789, 2**40)]
    assert told == ["0 B", "1,023 B", "1.00 KiB", "118 MiB", "1.00 TiB"]
    counts = [magnitude(n).replace("\u00a0", " ") for n in (12, 999, 6.74e9, 1.5e18)]
    assert counts == ["12", "999", "6.74 G", "1.5 E"]
    assert unit_for(2**30 - 1) == "MiB"
