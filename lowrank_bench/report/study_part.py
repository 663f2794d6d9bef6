"""What a study gives to the page: sentences, figures and tables, drawn as everything else is.

Rows and figures' data that name a `method` or a `rank` follow the page's filters; so does a whole
part that names its `control`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lowrank_bench.report.figure import Figure

Value = str | int | float | bool | None


@dataclass(frozen=True)
class Cell:
    """A text, and what sorts it: '91.2 ± 0.3 %' by 0.912. None is sorted last, either way."""

    text: str
    order: str | int | float | None = None
    is_bad: bool = False  # in red


@dataclass(frozen=True)
class Column:
    key: str  # of the rows
    title: str
    numeric: bool = False  # to the right, sorted by number
    wide: bool = False  # long text, which is broken
    tip: str = ""  # what the title means, in a few words


@dataclass(frozen=True)
class PageTable:
    """One sortable table.

    A row holds a value, or a Cell, by the key of each column; missing or None is a dash. Three
    more keys are read where they are there: `method` and `rank`, by which the page's filters show
    or hide the row, and `bad`, which paints it.
    """

    title: str
    caption: str
    columns: list[Column]
    rows: list[dict[str, Any]]
    folded: bool = False  # closed until it is asked for

    def cell(self, row: Mapping[str, Any], column: Column) -> Cell:
        value = row.get(column.key)
        return value if isinstance(value, Cell) else as_cell(value)


def as_cell(value: Value) -> Cell:
    """A plain value as it is written: floats with four digits."""
    if value is None:
        return Cell("–")
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, float):
        return Cell(f"{value:.4g}", value)
    return Cell(str(value), value)


@dataclass(frozen=True)
class StudyPart:
    """One study, as a part of the page above the controls."""

    number: int  # from 1, as in the figures' ids and files: study-1-NAME
    heading: str
    findings: list[str]  # the first is set large
    warnings: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[PageTable] = field(default_factory=list)
    control: str = ""  # the hash of its control, when it has one
    wide: Sequence[str] = ()  # names of figures as wide as the page, beside those of many panels
    files: Mapping[str, bytes] = field(default_factory=dict)  # by name, written beside the page
