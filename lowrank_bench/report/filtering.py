"""What the page can be filtered by, and how a row says what it is of.

Methods go by their labels, ranks by their number, and what has no rank is a choice of its own.
The filtering itself is done by filters.js.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from lowrank_bench.report.section import Section
from lowrank_bench.report.study_part import StudyPart

SEARCHED = 12  # methods in a list that one can look through without a search

Rank = int | None
Labels = dict[str, tuple[str, Rank]]


@dataclass(frozen=True)
class Choices:
    """All that there is to choose from, in the page's order."""

    controls: list[tuple[str, str]]  # (hash, heading)
    methods: list[str]
    ranks: list[Rank]

    @classmethod
    def of(cls, found: Sequence[Section], studies: Sequence[StudyPart] = ()) -> "Choices":
        rows = [row for part in studies for table in part.tables for row in table.rows]
        methods = {m for s in found for m in s.runs["method_label"]}
        methods |= {row["method"] for row in rows if row.get("method") is not None}
        ranks = {rank for s in found for rank in s.runs["rank"]}
        ranks |= {row["rank"] for row in rows if "rank" in row}
        return cls(
            controls=[(section.control_hash, section.heading) for section in found],
            methods=sorted(methods),
            ranks=sorted(ranks, key=lambda rank: -1 if rank is None else rank),
        )

    @property
    def is_any(self) -> bool:
        return max(len(self.controls), len(self.methods), len(self.ranks)) > 1

    @property
    def is_searched(self) -> bool:
        return len(self.methods) > SEARCHED


def attributes(row: Mapping[str, Any]) -> Markup:
    """`data-method` and `data-rank` of a row that has these keys; a rank of None is empty."""
    told = ""
    if row.get("method") is not None:
        told += f' data-method="{escape(row["method"])}"'
    if "rank" in row:
        told += f' data-rank="{"" if row["rank"] is None else int(row["rank"])}"'
    return Markup(told)


def labels_of(found: Sequence[Section]) -> dict[str, Labels]:
    """By the prefix of the figures' ids, which method and rank a configuration's label means.

    Figures of studies may name any configuration.
    """
    told = {f"s{section.number}": _labels(section) for section in found}
    everywhere: Labels = {}
    for labels in told.values():
        everywhere = labels | everywhere
    return told | {"study": everywhere}


def _labels(section: Section) -> Labels:
    rows = section.table.select("label", "method_label", "rank").rows()
    return {label: (method, rank) for label, method, rank in rows}


def of_label(label: str, labels: Labels) -> Markup:
    """The attributes of a row that names a configuration, or a method."""
    method, rank = labels.get(label, (None, None))
    return attributes({"method": label} if method is None else {"method": method, "rank": rank})


def of_key(label: str, labels: Labels, choices: Choices) -> Markup:
    """The attributes of an entry of a legend: a method, a configuration or a rank."""
    if label in choices.methods:
        return attributes({"method": label})
    if label in labels:
        return of_label(label, labels)
    rank = label.removeprefix("r")
    is_rank = rank != label and rank.isdecimal() and int(rank) in choices.ranks
    return attributes({"rank": int(rank)}) if is_rank else Markup("")
