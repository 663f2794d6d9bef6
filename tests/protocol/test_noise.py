import polars as pl
import pytest
from synthetic_study import synthetic_study

from lowrank_bench.protocol.noise import noise_floor
from lowrank_bench.protocol.study import Study


def duplicates_moved_by(*differences: float, metric: str = "accuracy") -> Study:
    study = synthetic_study(duplicates=len(differences), duplicate_noise=0.0, metric=metric)
    arms = list(study.ledger.duplicates)
    moved = pl.col(study.test)
    for arm, difference in zip(arms, differences, strict=True):
        here = (pl.col("stage") == "duplicate") & (pl.col("arm") == arm)
        moved = moved + pl.when(here).then(difference).otherwise(0.0)
    return Study(study.ledger, study.runs.with_columns(moved.alias(study.test)))


def test_it_is_the_largest_difference_between_two_runs_of_one_seed() -> None:
    floor = noise_floor(duplicates_moved_by(0.001, -0.0025))
    assert floor.value == pytest.approx(0.0025)
    assert floor.n == 2
    assert (
        floor.text == "The noise floor is 0.25 points: 2 finals trained twice came out so far apart"
    )


def test_of_a_loss_it_is_in_nats() -> None:
    floor = noise_floor(duplicates_moved_by(0.01, metric="loss"))
    assert floor.value == pytest.approx(0.01)
    assert "0.0100 nats: one final trained twice" in floor.text


def test_runs_that_repeat_exactly_have_none() -> None:
    floor = noise_floor(duplicates_moved_by(0.0, 0.0))
    assert (floor.value, floor.n) == (0.0, 2)
    assert floor.text == "The noise floor is zero: 2 finals trained twice gave the same numbers"


def test_without_duplicates_it_was_not_measured() -> None:
    floor = noise_floor(synthetic_study())
    assert (floor.value, floor.n) == (None, 0)
    assert floor.text == "The noise floor was not measured: no final was trained twice"


def test_a_duplicate_that_failed_tells_nothing() -> None:
    study = duplicates_moved_by(0.01, 0.002)
    first = next(iter(study.ledger.duplicates))
    here = (pl.col("stage") == "duplicate") & (pl.col("arm") == first)
    status = pl.when(here).then(pl.lit("failed")).otherwise("status").alias("status")
    floor = noise_floor(Study(study.ledger, study.runs.with_columns(status)))
    assert (floor.value, floor.n) == (pytest.approx(0.002), 1)
