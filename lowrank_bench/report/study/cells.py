"""How numbers and settings of a study are written in a table's cell."""

import json
from typing import Any

from lowrank_bench.report.metric import Metric
from lowrank_bench.report.study import words
from lowrank_bench.report.study_part import Cell


def value(metric: Metric, number: float | None) -> Cell:
    return Cell(words.value(metric, number), number)


def between(metric: Metric, low: float | None, high: float | None) -> Cell:
    return Cell(words.between(metric, low, high), low)


def difference(metric: Metric, number: float | None) -> Cell:
    return Cell(words.signed(metric, number), number)


def interval(metric: Metric, low: float | None, high: float | None) -> Cell:
    return Cell(words.interval(metric, low, high), low)


def whole(number: float | None) -> Cell:
    return Cell("–") if number is None else Cell(f"{int(number):,}", number)


def short(number: float | None) -> Cell:
    return Cell("–") if number is None else Cell(words.short(number), number)


def in_bytes(number: float | None) -> Cell:
    return Cell(words.of_bytes(number), number)


def seconds(number: float | None) -> Cell:
    return Cell("–") if number is None else Cell(f"{number:,.1f} s", number)


def p(number: float | None) -> Cell:
    return Cell("–") if number is None else Cell(f"{number:.2g}", number)


def plain(number: float | None) -> Cell:
    return Cell("–") if number is None else Cell(f"{number:g}", number)


def setting(told: str | None) -> str:
    """Of JSON, without the path of each key: 'lr 0.01, ratio 4'."""
    if told is None:
        return "–"
    parts: dict[str, Any] = json.loads(told)
    return ", ".join(
        f"{key.rpartition('.')[2]} {f'{each:g}' if isinstance(each, float) else each}"
        for key, each in parts.items()
    )
