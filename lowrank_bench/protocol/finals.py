"""What the finals say: one test value an arm and fresh seed, and paired differences of them."""

from collections.abc import Iterable

import numpy as np
import polars as pl

from lowrank_bench.protocol.study import FINAL, Study

# Values are differences of decimals, so that equal ones differ in the last bit: a tie is a tie.
DIGITS = 12

Values = dict[str, dict[int, float]]  # {arm: {seed: value}}, seeds rising


def finals(study: Study) -> pl.DataFrame:
    """The finals that count: finished, tested, and under the study's control; in a fixed order."""
    if study.ledger.metric is None:
        return study.runs.clear()
    return (
        study.stage(FINAL)
        .filter(
            pl.col("status") == "finished",
            pl.col(study.test).is_not_null(),
            pl.col("control_hash") == study.ledger.control_hash,
        )
        .sort("arm", "seed")
    )


def values(study: Study, column: str | None = None) -> Values:
    """Of the test metric, or of another column where it is known; no arm is left out."""
    found: Values = {arm.name: {} for arm in study.ledger.arms}
    if study.ledger.metric is not None:
        name = column or study.test
        rows = finals(study).select("arm", "seed", name).drop_nulls(name)
        for arm, seed, value in rows.iter_rows():
            found[arm][seed] = value
    return found


def differences(found: Values, reference: str, arm: str, sign: int) -> np.ndarray:
    """(n,) of arm minus reference over the seeds that both have; positive is better."""
    mine, other = found[arm], found[reference]
    shared = [seed for seed in mine if seed in other]
    return np.round([sign * (mine[seed] - other[seed]) for seed in shared], DIGITS)


def mean(numbers: Iterable[float]) -> float | None:
    """None of nothing."""
    array = np.fromiter(numbers, float)
    return float(np.round(array.mean(), DIGITS)) if array.size else None
