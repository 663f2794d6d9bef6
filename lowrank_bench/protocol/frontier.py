"""The Pareto frontier of metric and cost, and of learning and forgetting, with its uncertainty."""

from typing import Any

import numpy as np
import polars as pl

from lowrank_bench.errors import ConfigError
from lowrank_bench.protocol.finals import DIGITS, Values, finals, mean, values
from lowrank_bench.protocol.guards import standing
from lowrank_bench.protocol.intervals import intervals
from lowrank_bench.protocol.study import Study

RESAMPLES = 2_000
ON_A_DEVICE = ("peak_memory_bytes", "train_seconds")
COSTS = ("rank", "params_trainable", "optimizer_state_bytes", "train_flops", *ON_A_DEVICE)

Row = dict[str, Any]

FRONTIER = pl.Schema(
    {
        "arm": pl.String,
        "method": pl.String,
        "rank": pl.Int64,
        "ranked": pl.Boolean,
        "x": pl.Float64,  # mean cost of the finals
        "x_low": pl.Float64,
        "x_high": pl.Float64,
        "y": pl.Float64,  # mean test metric
        "low": pl.Float64,  # bootstrap 95 % interval of it
        "high": pl.Float64,
        "on_frontier": pl.Boolean,
        "probability": pl.Float64,
    }
)
FORGETTING = pl.Schema(
    {"arm": pl.String, "method": pl.String, "rank": pl.Int64, "ranked": pl.Boolean}
    | {
        f"{name}{end}": pl.Float64
        for name in ("learned", "kept", "forgot")
        for end in ("", "_low", "_high")
    }
    | {"on_frontier": pl.Boolean, "probability": pl.Float64}
)


def frontier(study: Study, cost: str, *, resamples: int = RESAMPLES) -> pl.DataFrame:
    """One row an arm with finals; columns FRONTIER.

    On the frontier: no other arm is as good for as little, and better in one of the two. Only
    ranked arms whose cost is known take part. `probability` is the share of resamples of the
    seeds, the same in all arms, in which the arm is on it; null where it takes no part.
    """
    if cost not in COSTS:
        raise ConfigError(f"cost={cost}: must be one of {', '.join(COSTS)}")
    score = values(study)
    price = _prices(study, cost, score)
    rows = _rows(study, score)
    _spread(rows, "x", ("x_low", "x_high"), price)
    _spread(rows, "y", ("low", "high"), score)
    _mark(rows, [(price, -1), (score, study.ledger.sign)], resamples)
    return pl.DataFrame(rows, schema=FRONTIER, orient="row")


def forgetting_frontier(study: Study, *, resamples: int = RESAMPLES) -> pl.DataFrame:
    """One row an arm with finals that were asked about the source; columns FORGETTING.

    `learned` is the mean test metric, `kept` that of the source after training (accuracy where it
    is known, else loss), `forgot` how much worse the source has become. On the frontier: no other
    ranked arm learned as much and kept as much, and more of one of the two.
    """
    by_accuracy = finals(study)["selected_source_accuracy"].is_not_null().any()
    name, sign = ("accuracy", 1) if by_accuracy else ("loss", -1)
    learned = values(study)
    kept = values(study, f"selected_source_{name}")
    before = values(study, f"before_source_{name}")
    forgot = {
        arm: {seed: sign * (was[seed] - now) for seed, now in kept[arm].items() if seed in was}
        for arm, was in before.items()
    }
    rows = [row for row in _rows(study, learned) if kept[row["arm"]]]
    for key, numbers in (("learned", learned), ("kept", kept), ("forgot", forgot)):
        _spread(rows, key, (f"{key}_low", f"{key}_high"), numbers)
    _mark(rows, [(learned, study.ledger.sign), (kept, sign)], resamples)
    return pl.DataFrame(rows, schema=FORGETTING, orient="row")


def _rows(study: Study, score: Values) -> list[Row]:
    ranked = dict(standing(study).select("arm", "ranked").iter_rows())
    return [
        {
            "arm": arm.name,
            "method": arm.method,
            "rank": arm.rank,
            "ranked": ranked[arm.name],
            "on_frontier": False,
        }
        for arm in study.ledger.arms
        if score[arm.name]
    ]


def _prices(study: Study, cost: str, score: Values) -> Values:
    """The cost by seed; a seed whose run does not know its own has the mean of the others."""
    if cost in ON_A_DEVICE and finals(study)["device"].n_unique() > 1:
        return {arm: {} for arm in score}  # what devices cost cannot be held against each other
    found = values(study, cost)
    usual = {arm: mean(known.values()) for arm, known in found.items()}
    return {
        arm: {seed: found[arm].get(seed, price) for seed in score[arm]}
        for arm, price in usual.items()
        if price is not None
    } | {arm: {} for arm, price in usual.items() if price is None}


def _spread(rows: list[Row], name: str, ends: tuple[str, str], numbers: Values) -> None:
    """Set the mean of each arm's numbers under `name`, and its interval under `ends`."""
    samples = [np.array([*numbers[row["arm"]].values()]) for row in rows]
    for row, sample, (low, high) in zip(rows, samples, intervals(samples), strict=True):
        row |= {name: mean(sample), ends[0]: low, ends[1]: high}


def _mark(rows: list[Row], axes: list[tuple[Values, int]], resamples: int) -> None:
    """Set on_frontier and probability of the arms that have both numbers for all seeds."""
    inside = [row for row in rows if row["ranked"] and all(axis[row["arm"]] for axis, _ in axes)]
    seeds = sorted(
        set.intersection(*(set(axis[row["arm"]]) for row in inside for axis, _ in axes))
        if inside
        else ()
    )
    if not seeds:
        return
    # (2, arms, seeds), larger is better on both axes
    data = np.array(
        [[[sign * axis[row["arm"]][s] for s in seeds] for row in inside] for axis, sign in axes]
    )
    drawn = np.random.default_rng(0).integers(0, len(seeds), (resamples, len(seeds)))
    observed = _is_on(data.mean(-1)[..., None])[:, 0]
    share = _is_on(data[..., drawn].mean(-1)).mean(-1)
    for row, is_on, probability in zip(inside, observed, share, strict=True):
        row |= {"on_frontier": bool(is_on), "probability": float(probability)}


def _is_on(means: np.ndarray) -> np.ndarray:
    """(2, arms, resamples) -> (arms, resamples): whether no other is as good, and once better."""
    means = np.round(means, DIGITS)
    is_beaten = [
        ((means >= mine).all(0) & (means > mine).any(0)).any(0)
        for mine in means.swapaxes(0, 1)[:, :, None]  # (2, 1, resamples), arm by arm
    ]
    return ~np.array(is_beaten)
