"""The best arm at an equal rank, and within an equal budget of parameters, memory or FLOPs."""

from typing import Any

import polars as pl

from lowrank_bench.protocol import exact
from lowrank_bench.protocol.finals import Values, differences, finals, mean, values
from lowrank_bench.protocol.guards import standing
from lowrank_bench.protocol.intervals import RESAMPLES, intervals
from lowrank_bench.protocol.noise import noise_floor
from lowrank_bench.protocol.study import Study

EQUAL = 1.05  # costs up to so many times the budget count as within it

Row = dict[str, Any]

SLICES = pl.Schema(
    {
        "kind": pl.String,  # rank, parameters, memory, flops
        "measured": pl.String,  # the column that is the cost
        "budget": pl.Float64,
        "budget_of": pl.String,  # the arm, or 'rank 4'
        "winner": pl.String,
        "value": pl.Float64,
        "second": pl.String,
        "second_value": pl.Float64,
        "difference": pl.Float64,  # winner minus second; positive is better
        "low": pl.Float64,  # bootstrap 95 % interval of it
        "high": pl.Float64,
        "p": pl.Float64,  # exact, not corrected for anything
        "is_real": pl.Boolean,
        "num_arms": pl.Int64,  # that fit into the budget
    }
)


def slices(study: Study, *, resamples: int = RESAMPLES) -> pl.DataFrame:
    """One row a budget; columns SLICES. Only ranked arms take part.

    Of a rank: the arms of exactly that rank, so that those without one stand in none. Of a cost:
    each reference's own mean cost is a budget, and so many arms fit as cost up to EQUAL times it.
    Memory is the measured peak where it is known of all ranked arms on one device, else the bytes
    of optimizer states. `is_real` is of two arms that were picked as the best two, by a p that is
    not corrected: a hint, where `comparisons` has the claims.
    """
    rules = study.ledger.rules
    score = values(study)
    ranked = set(standing(study).filter("ranked")["arm"])
    arms = [arm for arm in study.ledger.arms if arm.name in ranked]
    contests: list[tuple[Row, list[str]]] = []
    for rank in sorted({arm.rank for arm in arms if arm.rank is not None}):
        row: Row = {"kind": "rank", "measured": "rank", "budget": rank}
        row["budget_of"] = f"rank {rank}"
        contests.append((row, [arm.name for arm in arms if arm.rank == rank]))
    for kind, column in (
        ("parameters", "params_trainable"),
        ("memory", _memory(study, ranked)),
        ("flops", "train_flops"),
    ):
        found = values(study, column)
        price = {arm.name: cost for arm in arms if (cost := mean(found[arm.name].values()))}
        for arm in arms:
            if arm.method in rules.references and arm.name in price:
                budget = price[arm.name]
                row = {"kind": kind, "measured": column, "budget": budget, "budget_of": arm.name}
                fits = [name for name, cost in price.items() if cost <= EQUAL * budget]
                contests.append((row, fits))
    rows = [row | _contest(names, score, study, resamples) for row, names in contests]
    return pl.DataFrame(rows, schema=SLICES, orient="row")


def _contest(names: list[str], score: Values, study: Study, resamples: int) -> Row:
    sign = study.ledger.sign
    means = {name: mean(score[name].values()) or 0.0 for name in names}
    first, *others = sorted(names, key=lambda name: -sign * means[name])
    row: Row = {"winner": first, "value": means[first], "num_arms": len(names)}
    if not others:
        return row
    sample = differences(score, others[0], first, sign)
    p = exact.of_no_difference([sample])[0]
    low, high = intervals([sample], resamples=resamples)[0]
    difference = mean(sample)
    is_above = abs(difference or 0.0) > (noise_floor(study).value or 0.0)
    return row | {
        "second": others[0],
        "second_value": means[others[0]],
        "difference": difference,
        "low": low,
        "high": high,
        "p": p,
        "is_real": p is not None and p <= study.ledger.rules.alpha and is_above,
    }


def _memory(study: Study, ranked: set[str]) -> str:
    table = finals(study).filter(pl.col("arm").is_in(ranked))
    is_known = table["peak_memory_bytes"].is_not_null().all()
    one_device = table["device"].n_unique() == 1
    return "peak_memory_bytes" if is_known and one_device else "optimizer_state_bytes"
