"""The noise floor: how far two runs lie apart that are the same in all that was decided."""

from dataclasses import dataclass

import polars as pl

from lowrank_bench.protocol.finals import DIGITS, finals
from lowrank_bench.protocol.study import DUPLICATE, Study
from lowrank_bench.protocol.wording import amount, plural


@dataclass(frozen=True)
class NoiseFloor:
    value: float | None  # in the metric's unit; None where no run was trained twice
    n: int  # runs trained twice
    text: str


def noise_floor(study: Study) -> NoiseFloor:
    """The largest difference of the test metric between a final and its duplicate."""
    metric = study.ledger.metric
    if metric is None:
        return NoiseFloor(None, 0, "The noise floor was not measured: no run has been tested")
    twice = study.stage(DUPLICATE).filter(pl.col("status") == "finished")
    pairs = finals(study).join(twice, on=["arm", "seed"], suffix="_again")
    moved = (pairs[study.test] - pairs[f"{study.test}_again"]).drop_nulls().abs()
    if moved.is_empty():
        return NoiseFloor(None, 0, "The noise floor was not measured: no final was trained twice")
    value = round(float(moved.max()), DIGITS)  # type: ignore[arg-type]
    twice_trained = f"{plural(len(moved), 'final')} trained twice"
    if value == 0:
        text = f"The noise floor is zero: {twice_trained} gave the same numbers"
    else:
        text = f"The noise floor is {amount(value, metric)}: {twice_trained} came out so far apart"
    return NoiseFloor(value, len(moved), text)
