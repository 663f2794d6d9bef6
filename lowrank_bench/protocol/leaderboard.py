"""The ranking: only arms that the protocol lets in have a place."""

from typing import Any

import numpy as np
import polars as pl

from lowrank_bench.protocol import exact
from lowrank_bench.protocol.compare import comparisons
from lowrank_bench.protocol.finals import DIGITS, Values, differences, finals, mean, values
from lowrank_bench.protocol.guards import standing
from lowrank_bench.protocol.holm import holm
from lowrank_bench.protocol.intervals import RESAMPLES, intervals
from lowrank_bench.protocol.noise import noise_floor
from lowrank_bench.protocol.study import Study
from lowrank_bench.protocol.tuning import sensitivity

Row = dict[str, Any]

LEADERBOARD = pl.Schema(
    {
        "place": pl.Int64,  # 1 + the ranked arms whose mean is better
        "tied_with_best": pl.Boolean,
        "p_best": pl.Float64,  # Holm's, of no difference from the best
        "arm": pl.String,
        "method": pl.String,
        "rank": pl.Int64,
        "ranked": pl.Boolean,
        "reason": pl.String,
        "n": pl.Int64,
        "mean": pl.Float64,
        "low": pl.Float64,  # bootstrap 95 % interval of the mean
        "high": pl.Float64,
        "sd": pl.Float64,
        "lr": pl.Float64,
        "setting": pl.String,
        "trainable": pl.Int64,
        "optimizer_state_bytes": pl.Float64,
        "train_flops": pl.Float64,
        "tuning_flops": pl.Float64,
        "tuning_runs": pl.Int64,
    }
)
MEASURED = ("train_seconds", "peak_memory_bytes")


def leaderboard(study: Study, *, resamples: int = RESAMPLES) -> pl.DataFrame:
    """One row an arm, ranked ones by their mean, then the others by theirs; columns LEADERBOARD.

    An arm is tied with the best when the paired exact test of the two, with Holm's correction over
    all ranked arms but the best, finds no difference at alpha, when the difference is within the
    noise floor, or when the two are among the study's comparisons and no difference was found
    there. The best itself is not tied with itself: false. Null where there is no place.

    So an arm that is truly the best is the first or tied with it in at least 1 - alpha of studies
    (Gupta 1965, subset selection). It says no more: the first was picked for its luck too, and
    among many equal arms one or the other is not tied more often than alpha. What is real is said
    by `comparisons`, whose references were named beforehand.
    """
    ledger = study.ledger
    found = values(study)
    names = [arm.name for arm in ledger.arms]
    bounds = intervals([np.array([*found[name].values()]) for name in names], resamples=resamples)
    costs = _costs(study)
    stands = standing(study).to_dicts()
    rows: list[Row] = []
    for arm, interval, stand, tuned in zip(
        ledger.arms, bounds, stands, sensitivity(study).to_dicts(), strict=True
    ):
        numbers = [*found[arm.name].values()]
        cost = costs.get(arm.name, {})
        rows.append(
            {
                "arm": arm.name,
                "method": arm.method,
                "rank": arm.rank,
                "ranked": stand["ranked"],
                "reason": "; ".join(stand["reasons"]),
                "n": len(numbers),
                "mean": mean(numbers),
                "low": interval[0],
                "high": interval[1],
                "sd": float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None,
                "lr": tuned["best_lr"],
                "setting": tuned["best_setting"],
                "trainable": cost.get("params_trainable"),
                "optimizer_state_bytes": cost.get("optimizer_state_bytes"),
                "train_flops": cost.get("train_flops"),
                "tuning_flops": tuned["flops"],
                "tuning_runs": tuned["runs"],
            }
        )
    rows.sort(key=lambda row: _order(row, ledger.sign))
    ranked = [row for row in rows if row["ranked"]]
    for row in ranked:
        row["place"] = 1 + sum(ledger.sign * (other["mean"] - row["mean"]) > 0 for other in ranked)
    _tie(ranked, found, study)
    return pl.DataFrame(rows, schema=LEADERBOARD, orient="row")


def costs(study: Study, *, resamples: int = RESAMPLES) -> pl.DataFrame:
    """One row an arm: what was measured on the machine, so that it moves from run to run.

    Means over the finals with bootstrap 95 % intervals; null where they ran on unlike devices.
    """
    by_device = finals(study).group_by("arm").agg(pl.col("device").unique()).iter_rows()
    device = {arm: of[0] for arm, of in by_device if len(of) == 1}
    tuned = sensitivity(study)
    rows: list[Row] = [
        {"arm": arm, "device": device.get(arm), "tuning_seconds": seconds}
        for arm, seconds in tuned.select("arm", "seconds").iter_rows()
    ]
    for name in MEASURED:
        found = values(study, name)
        samples = [
            np.array([*found[row["arm"]].values()] if row["arm"] in device else []) for row in rows
        ]
        bounds = intervals(samples, resamples=resamples)
        for row, sample, (low, high) in zip(rows, samples, bounds, strict=True):
            row |= {name: mean(sample), f"{name}_low": low, f"{name}_high": high}
    schema = {"arm": pl.String, "device": pl.String} | {
        f"{name}{end}": pl.Float64 for name in MEASURED for end in ("", "_low", "_high")
    }
    return pl.DataFrame(rows, schema=schema | {"tuning_seconds": pl.Float64}, orient="row")


def _costs(study: Study) -> dict[str, Row]:
    """What a final costs, equal in all of an arm: a run that was resumed does not know all."""
    names = ("params_trainable", "optimizer_state_bytes", "train_flops")
    known = [pl.col(name).drop_nulls().first() for name in names]
    table = finals(study).group_by("arm", maintain_order=True).agg(known)
    return {row["arm"]: row for row in table.to_dicts()}


def _order(row: Row, sign: int) -> tuple[bool, bool, float]:
    known = row["mean"] is not None
    return not row["ranked"], not known, -sign * row["mean"] if known else 0.0


def _tie(ranked: list[Row], found: Values, study: Study) -> None:
    if not ranked:
        return
    best, *others = ranked
    best["tied_with_best"] = False
    sign, floor = study.ledger.sign, noise_floor(study).value or 0.0
    samples = [differences(found, best["arm"], row["arm"], sign) for row in others]
    p = [1.0 if each is None else each for each in exact.of_no_difference(samples)]
    undecided = _not_told_apart(study, best["arm"])
    for row, corrected in zip(others, holm(p), strict=True):
        is_small = abs(round(row["mean"] - best["mean"], DIGITS)) <= floor
        row["p_best"] = corrected
        row["tied_with_best"] = corrected > study.ledger.rules.alpha or is_small
        row["tied_with_best"] |= row["arm"] in undecided


def _not_told_apart(study: Study, best: str) -> set[str]:
    """From the best, by the study's own comparisons: their family is another, and mostly larger."""
    pairs = comparisons(study, resamples=None).filter(
        pl.col("verdict").is_in(["undecided", "equivalent"])
    )
    both = pairs.select("reference", "arm").rows()
    return {other for pair in both if best in pair for other in pair if other != best}
