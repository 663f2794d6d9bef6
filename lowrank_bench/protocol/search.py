"""Which settings an arm of a study tries: the same number for every arm.

A first round covers a grid of learning rates. What is left of the budget goes, one trial at a
time, to where it tells most: beyond the edge that the best lies on; to a knob of the method's
own; to finer rates around the best. All of it is a function of the trials so far and their
scores, so that a search that was killed goes on where it was.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import log10
from typing import Any

from lowrank_bench.protocol.ledger import Setting

LR = "lr"
Scored = Sequence[tuple[Setting, float | None]]  # higher is better; None: it gave no result


@dataclass(frozen=True)
class Space:
    """What an arm may try.

    Learning rates are 10^(k / per_decade), k whole, so that methods with different centres have
    rates in common; `first` of them around `centre` make the first round. `knobs` are values by
    key that are tried beside the recipe's own.
    """

    centre: float
    per_decade: int
    first: int
    knobs: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def rate(exponent: float, per_decade: int) -> float:
    """10^(exponent / per_decade) in three digits, as one would type it."""
    return float(f"{10 ** (exponent / per_decade):.3g}")


def exponent(lr: float, per_decade: int) -> float:
    """Where a rate lies on the grid, in sixteenths of a step, which undoes its rounding."""
    return round(16 * log10(lr) * per_decade) / 16


def next_settings(space: Space, trials: Scored, budget: int) -> list[Setting]:
    """What to try next, all of which may train at once; empty when the budget is spent."""
    left = budget - len(trials)
    if left <= 0:
        return []
    if not trials:
        return first_round(space)[:budget]
    tried = [setting for setting, _ in trials]
    new = (setting for setting in _candidates(space, trials) if setting not in tried)
    return [next(new)]


def first_round(space: Space) -> list[Setting]:
    middle = round(exponent(space.centre, space.per_decade))
    low = middle - (space.first - 1) // 2
    return [{LR: rate(low + i, space.per_decade)} for i in range(space.first)]


def best(trials: Scored) -> int | None:
    """The trial with the highest score; of equal ones that with the lowest learning rate."""
    scored = [(score, -setting[LR], -i) for i, (setting, score) in enumerate(trials) if _is(score)]
    return -max(scored)[2] if scored else None


def edge(trials: Scored) -> str | None:
    """`low` or `high`, where the best trial has the lowest or highest rate of all; else None."""
    chosen = best(trials)
    if chosen is None:
        return None
    rates = [setting[LR] for setting, _ in trials]
    lr = trials[chosen][0][LR]
    return "low" if lr == min(rates) else "high" if lr == max(rates) else None


def _candidates(space: Space, trials: Scored) -> Iterator[Setting]:
    """Settings in the order of what they would tell; some were tried already. Never ends."""
    steps = space.per_decade
    tried = sorted({exponent(setting[LR], steps) for setting, _ in trials})
    chosen = best(trials)
    if chosen is None:  # whatever was tried diverged
        yield {LR: rate(tried[0] - 1, steps)}
        chosen = min(range(len(trials)), key=lambda i: trials[i][0][LR])
    setting = trials[chosen][0]
    here = exponent(setting[LR], steps)
    if here == tried[0]:
        yield setting | {LR: rate(here - 1, steps)}
    if here == tried[-1]:
        yield setting | {LR: rate(here + 1, steps)}
    for key, values in space.knobs.items():
        for value in values:
            yield setting | {key: value}
    for place in _between(trials, setting, steps):
        yield setting | {LR: rate(place, steps)}
    beyond = 1
    while True:
        yield {LR: rate(tried[0] - beyond, steps)}
        yield {LR: rate(tried[-1] + beyond, steps)}
        beyond += 1


def _between(trials: Scored, setting: Setting, steps: int) -> list[float]:
    """Half way to the nearest rates tried with the same knobs, on the better side first."""
    here = exponent(setting[LR], steps)
    scores = {
        exponent(tried[LR], steps): float("-inf") if score is None else score
        for tried, score in trials
        if tried | {LR: None} == setting | {LR: None}
    }
    below = max((place for place in scores if place < here), default=here - 1)
    above = min((place for place in scores if place > here), default=here + 1)
    sides = sorted((below, above), key=lambda place: -scores.get(place, float("-inf")))
    return [(here + place) / 2 for place in sides]


def _is(score: float | None) -> bool:
    return score is not None
