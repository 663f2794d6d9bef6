"""What the page can be filtered by, and how a row says what it is of.

A choice of a method covers all its settings: what a study tuned is one choice, though its trials
have labels of their own. Ranks go by their number, and what has no rank is a choice of its own.
The filtering itself is done by filters.js.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from lowrank_bench.report.section import Section
from lowrank_bench.report.study_part import StudyPart

SEARCHED = 12  # methods in a list that one can look through without a search
HASH = re.compile(r" #[0-9a-f]+$")  # which tells two settings of one name apart
OVERRIDDEN = re.compile(r"(?P<base>.*?) \((?P<overrides>.*)\)", re.DOTALL)

Rank = int | None
Labels = Mapping[str, tuple[str, Rank]]


@dataclass(frozen=True)
class Choices:
    """All that there is to choose from, in the page's order."""

    controls: list[tuple[str, str]]  # (hash, heading)
    family: dict[str, str]  # the choice that each method's label belongs to
    ranks: list[Rank]

    @classmethod
    def of(cls, found: Sequence[Section], studies: Sequence[StudyPart] = ()) -> "Choices":
        rows = [row for part in studies for table in part.tables for row in table.rows]
        arms = {row["method"] for row in rows if row.get("method") is not None}
        ranks = {rank for s in found for rank in s.runs["rank"].unique()}
        ranks |= {row["rank"] for row in rows if "rank" in row}
        return cls(
            controls=[(section.control_hash, section.heading) for section in found],
            family=families({m for s in found for m in s.runs["method_label"].unique()}, arms),
            ranks=sorted(ranks, key=lambda rank: -1 if rank is None else rank),
        )

    @property
    def methods(self) -> list[str]:
        return sorted(set(self.family.values()))

    @property
    def is_any(self) -> bool:
        return max(len(self.controls), len(self.methods), len(self.ranks)) > 1

    @property
    def is_searched(self) -> bool:
        return len(self.methods) > SEARCHED

    def attributes(self, row: Mapping[str, Any]) -> Markup:
        """`data-method` and `data-rank` of a row that has these keys; a rank of None is empty."""
        told = ""
        if row.get("method") is not None:
            method = self.family.get(row["method"], row["method"])
            told += f' data-method="{escape(method)}"'
        if "rank" in row:
            told += f' data-rank="{"" if row["rank"] is None else int(row["rank"])}"'
        return Markup(told)

    def of_label(self, label: str, labels: Labels) -> Markup:
        """The attributes of a row that names a configuration, or a method."""
        method, rank = labels.get(label, (None, None))
        row = {"method": label} if method is None else {"method": method, "rank": rank}
        return self.attributes(row)

    def of_key(self, label: str, labels: Labels) -> Markup:
        """The attributes of an entry of a legend: a method, a configuration or a rank."""
        if label in self.family:
            return self.attributes({"method": label})
        if label in labels:
            return self.of_label(label, labels)
        rank = label.removeprefix("r")
        is_rank = rank != label and rank.isdecimal() and int(rank) in self.ranks
        return self.attributes({"rank": int(rank)}) if is_rank else Markup("")


def families(labels: Iterable[str], arms: Iterable[str]) -> dict[str, str]:
    """By label of a method the choice that it belongs to.

    Of the arms of studies the one that has most of the label's overrides and no other; else the
    label itself, without the hash that tells settings apart.
    """
    known = {arm: _taken_apart(arm) for arm in sorted(set(arms))}
    found = {arm: arm for arm in known}
    for label in set(labels) - found.keys():
        base, overrides = _taken_apart(label)
        fitting = [arm for arm, (b, some) in known.items() if b == base and some <= overrides]
        plain = HASH.sub("", label)
        found[label] = max(fitting, key=lambda arm: len(known[arm][1]), default=plain)
    return found


def _taken_apart(label: str) -> tuple[str, frozenset[str]]:
    plain = HASH.sub("", label)
    match = OVERRIDDEN.fullmatch(plain)
    if match is None:
        return plain, frozenset()
    return match["base"], frozenset(match["overrides"].split(", "))


def labels_of(found: Sequence[Section], studies: Sequence[StudyPart] = ()) -> dict[str, Labels]:
    """By the prefix of the figures' ids, which method and rank a configuration's label means.

    Figures of studies may name any configuration, and have arms of their own.
    """
    told = {f"s{section.number}": _labels(section) for section in found}
    everywhere: dict[str, tuple[str, Rank]] = {}
    for labels in told.values():
        everywhere = {**labels, **everywhere}
    figures = [figure for part in studies for figure in part.figures]
    for row in (row for each in figures for rows in each.datasets.values() for row in rows):
        if "arm" in row and row.get("method") is not None:
            everywhere.setdefault(str(row["arm"]), (row["method"], row.get("rank")))
    return told | {"study": everywhere}


def _labels(section: Section) -> Labels:
    rows = section.table.select("label", "method_label", "rank").rows()
    return {label: (method, rank) for label, method, rank in rows}
