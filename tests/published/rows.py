"""The published numbers, and what it means that one is found again."""

import json
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("reference_numbers.json")
HOLDS = ("exact", "derived", "rounds_to_published", "truncates_to_published", "within_tolerance")
FAILS = "not_reproduced"


@dataclass(frozen=True)
class Row:
    """A number in the unit that `unit` names, its source, and how far one may be from it.

    `status` says how what follows from the configuration stands to what is printed: exact,
    rounds_to_published, truncates_to_published, within_tolerance, not_reproduced; derived where
    nothing is printed. `computed` is what follows, as it was computed by hand, from the formula.
    """

    id: str
    source: str
    model: str | None
    method: str
    rank: int | None
    targets: str | None
    quantity: str
    unit: str
    value: int | float
    computed: int | float
    tolerance: float | None  # null where the value is not reproduced
    status: str
    note: str | None = None


@cache
def rows() -> dict[str, Row]:
    """All of them by id, in the order of the file."""
    read = [Row(**row) for row in json.loads(FILE.read_text(encoding="utf-8"))]
    found = {row.id: row for row in read}
    assert len(found) == len(read), "an id stands twice"
    return found


def last_digit(value: float) -> float:
    """What one more in the last digit of a printed number is: 0.01 for 1.19, 1 for 747."""
    exponent = Decimal(repr(value)).normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return 10.0 ** min(exponent, 0)


def reads(found: float, value: float, unit: float | None = None) -> bool:
    """Whether `found` is printed as `value`, rounded or cut off; `unit` is of the last digit."""
    unit = unit or last_digit(value)
    return abs(found - value) <= unit / 2 or value <= found < value + unit


def check(row: Row, found: float) -> None:
    """Raise AssertionError unless `found` stands to the row as its status says.

    It must also be what was computed by hand, to the last digit given there.
    """
    said = f"{row.id}: {found!r} was found, {row.value!r} {row.unit} is printed"
    slack = 1e-9 * abs(row.value)  # of decimals in binary
    if row.status == FAILS:
        assert not reads(found, row.value), f"{said}, so it does reproduce"
    elif row.status == "truncates_to_published":
        assert row.tolerance is not None
        assert row.value - slack <= found < row.value + row.tolerance, f"{said}, cut off"
    else:
        assert row.status in HOLDS and row.tolerance is not None
        if row.tolerance == 0:
            assert isinstance(found, int), f"{said}: a count must be whole"
            slack = 0
        assert abs(found - row.value) <= row.tolerance + slack, said
    assert abs(found - row.computed) <= _given_to(row.computed), (
        f"{said}, and {row.computed!r} was computed"
    )


def _given_to(computed: float) -> float:
    """Half of the last digit that is given, which is the sixth or a later one of a long number."""
    if isinstance(computed, int):
        return 0
    return max(0.51 * last_digit(computed), 5e-6 * abs(computed))
