"""Each arm against its references: paired differences, and what may be said of them."""

from typing import Any

import numpy as np
import polars as pl

from lowrank_bench.protocol import exact
from lowrank_bench.protocol.finals import differences, mean, values
from lowrank_bench.protocol.guards import standing
from lowrank_bench.protocol.holm import holm
from lowrank_bench.protocol.intervals import RESAMPLES, intervals
from lowrank_bench.protocol.noise import noise_floor
from lowrank_bench.protocol.study import Study
from lowrank_bench.protocol.wording import amount

Row = dict[str, Any]

COMPARISONS = pl.Schema(
    {
        "reference": pl.String,
        "arm": pl.String,
        "n": pl.Int64,  # seeds that both have
        "mean_diff": pl.Float64,  # arm minus reference; positive is better
        "low": pl.Float64,  # bootstrap 95 % interval of it
        "high": pl.Float64,
        "p": pl.Float64,  # exact, two-sided, of no difference
        "test": pl.String,  # permutation, wilcoxon
        "p_holm": pl.Float64,
        "p_within": pl.Float64,  # of a difference beyond the margin; Holm's too
        "wins": pl.Int64,  # of the arm, over seeds
        "ties": pl.Int64,
        "losses": pl.Int64,
        "verdict": pl.String,  # better, worse, equivalent, undecided, refused
        "why": pl.String,
    }
)


def comparisons(study: Study, *, resamples: int | None = RESAMPLES) -> pl.DataFrame:
    """One row for each comparison that the ledger lists; columns COMPARISONS.

    better, worse: Holm's p is at most alpha and the difference is above the noise floor.
    equivalent: not so, and the difference is shown to lie within +-margin, by two one-sided exact
    tests, Holm's correction over the study at alpha too.
    undecided: neither. refused: one of the two is not ranked; its numbers are shown, not tested.

    So any false "better" or "worse" comes in at most alpha of studies, and any false "equivalent"
    in at most alpha of them; one family of each kind, of all comparisons that are not refused.
    """
    ledger = study.ledger
    against = {row["arm"]: row["reasons"] for row in standing(study).to_dicts()}
    pairs = ledger.comparisons()
    found = values(study)
    samples = [differences(found, reference, arm, ledger.sign) for reference, arm in pairs]
    bounds = (
        [(None, None)] * len(samples)  # verdicts alone are wanted, which need none
        if resamples is None
        else intervals(samples, resamples=resamples)
    )
    tested = [i for i, pair in enumerate(pairs) if not any(against[name] for name in pair)]
    mine = [samples[i] for i in tested]
    p = [1.0 if each is None else each for each in exact.of_no_difference(mine)]
    beyond = exact.of_a_difference_beyond(mine, ledger.margin)
    within = holm([1.0 if each is None else each for each in beyond])
    corrected = holm(p)
    floor = noise_floor(study).value or 0.0
    place = {i: k for k, i in enumerate(tested)}
    rows = []
    for i, (reference, arm) in enumerate(pairs):
        sample = samples[i]
        row: Row = {
            "reference": reference,
            "arm": arm,
            "n": len(sample),
            "mean_diff": mean(sample),
            "low": bounds[i][0],
            "high": bounds[i][1],
            "wins": int(np.sum(sample > 0)),
            "ties": int(np.sum(sample == 0)),
            "losses": int(np.sum(sample < 0)),
        }
        if i in place:
            k = place[i]
            row |= {"p": p[k], "test": exact.test_name(len(sample))}
            row |= {"p_holm": corrected[k], "p_within": within[k]}
            row["verdict"], row["why"] = _verdict(row, study, floor, exact.direction(sample))
        else:
            row["verdict"] = "refused"
            row["why"] = "; ".join(
                f"{name}: {r}" for name in (arm, reference) for r in against[name]
            )
        rows.append(row)
    return pl.DataFrame(rows, schema=COMPARISONS, orient="row")


def _verdict(row: Row, study: Study, floor: float, direction: int) -> tuple[str, str]:
    ledger = study.ledger
    alpha, difference = ledger.rules.alpha, row["mean_diff"] or 0.0
    margin = amount(ledger.margin, ledger.metric)
    is_within = row["p_within"] <= alpha
    if row["p_holm"] <= alpha and direction * difference < 0:  # a few seeds against all others
        return "undecided", "the mean and the test lean to different sides"
    if row["p_holm"] <= alpha and abs(difference) > floor:
        verdict = "better" if difference > 0 else "worse"
        if is_within:
            return verdict, f"real, but smaller than the margin of {margin}"
        if abs(difference) <= ledger.margin:
            return verdict, f"real; not shown to be above or below the margin of {margin}"
        return verdict, "real"
    if is_within:
        return "equivalent", f"within the margin of {margin}"
    if row["p_holm"] <= alpha:
        return "undecided", f"not larger than the noise floor of {amount(floor, ledger.metric)}"
    return "undecided", f"neither real nor shown to be within the margin of {margin}"
