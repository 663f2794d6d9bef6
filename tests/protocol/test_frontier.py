import polars as pl
import pytest
from synthetic_study import synthetic_study

from lowrank_bench.errors import ConfigError
from lowrank_bench.protocol.frontier import COSTS, forgetting_frontier, frontier
from lowrank_bench.protocol.study import Study

METHODS = ("full", "lora", "dora")


def by_arm(frame: pl.DataFrame) -> dict[str, dict]:
    return {row["arm"]: row for row in frame.to_dicts()}


def test_who_costs_more_and_is_worse_is_not_on_it() -> None:
    gains = {"full": 0.03, "lora r4": 0.0, "lora r8": 0.02, "dora r4": -0.02, "dora r8": -0.02}
    study = synthetic_study(methods=METHODS, ranks=(4, 8), gains=gains)
    found = by_arm(frontier(study, "params_trainable"))
    assert [arm for arm, row in found.items() if row["on_frontier"]] == [
        "full",
        "lora r4",
        "lora r8",
    ]
    assert [found[arm]["probability"] for arm in gains] == [1, 1, 1, 0, 0]


def test_of_two_that_cost_the_same_only_the_better_is_on_it() -> None:
    study = synthetic_study(methods=METHODS, gains={"lora": 0.02})
    found = by_arm(frontier(study, "rank"))
    assert found["lora r8"]["on_frontier"] and not found["dora r8"]["on_frontier"]


def test_arms_that_are_equal_in_both_are_both_on_it() -> None:
    study = synthetic_study(methods=METHODS, noise=0.0)
    found = by_arm(frontier(study, "rank"))
    assert found["lora r8"]["on_frontier"] and found["dora r8"]["on_frontier"]
    assert found["lora r8"]["probability"] == found["dora r8"]["probability"] == 1.0


def test_what_noise_decides_is_neither_sure_nor_impossible() -> None:
    study = synthetic_study(methods=METHODS, rng=1)
    share = by_arm(frontier(study, "rank"))
    assert share["lora r8"]["probability"] + share["dora r8"]["probability"] == pytest.approx(1)
    assert 0.02 < share["lora r8"]["probability"] < 0.98


def test_seeds_are_resampled_together_so_that_their_effect_decides_nothing() -> None:
    # the seeds move all arms by ten points; lora is half a point better on each
    given = {"gains": {"lora": 0.005}, "noise": 0.0005, "seed_effect": 0.1}
    study = synthetic_study(methods=METHODS, **given)
    assert by_arm(frontier(study, "rank"))["lora r8"]["probability"] == 1.0


def test_of_a_loss_less_is_better() -> None:
    study = synthetic_study(methods=METHODS, gains={"lora": 0.02}, metric="loss")
    found = by_arm(frontier(study, "rank"))
    assert found["lora r8"]["on_frontier"] and not found["dora r8"]["on_frontier"]


def test_an_arm_that_is_not_ranked_takes_no_part() -> None:
    study = synthetic_study(methods=METHODS, gains={"lora": 0.02}, defects={"lora r8": "edge"})
    found = by_arm(frontier(study, "rank"))
    assert found["dora r8"]["on_frontier"]
    assert not found["lora r8"]["ranked"] and found["lora r8"]["y"] is not None
    assert not found["lora r8"]["on_frontier"] and found["lora r8"]["probability"] is None


def test_an_arm_without_a_rank_has_no_place_on_the_axis_of_ranks() -> None:
    row = by_arm(frontier(synthetic_study(), "rank"))["full"]
    assert row["x"] is None and row["probability"] is None and row["y"] is not None


@pytest.mark.parametrize("cost", COSTS)
def test_every_cost_has_a_frontier(cost: str) -> None:
    frame = frontier(synthetic_study(methods=METHODS, ranks=(4, 8)), cost, resamples=99)
    assert frame["on_frontier"].any()
    row = by_arm(frame)["lora r8"]
    assert row["x_low"] <= row["x"] <= row["x_high"]
    assert row["low"] < row["y"] < row["high"]


def test_another_cost_is_a_mistake_in_one_line() -> None:
    with pytest.raises(ConfigError, match="cost=price: must be one of rank, params_trainable"):
        frontier(synthetic_study(), "price")


def test_seconds_of_unlike_devices_have_no_frontier() -> None:
    study = synthetic_study()
    device = pl.when(pl.col("arm") == "full").then(pl.lit("cuda")).otherwise("device")
    mixed = Study(study.ledger, study.runs.with_columns(device=device))
    assert frontier(mixed, "train_seconds")["x"].null_count() == 3
    assert not frontier(mixed, "train_seconds")["on_frontier"].any()
    assert frontier(mixed, "train_flops")["x"].null_count() == 0


def test_a_seed_whose_cost_is_unknown_is_kept() -> None:
    study = synthetic_study(methods=METHODS)
    some = pl.when(pl.col("seed") == 101).then(None).otherwise("train_flops").alias("train_flops")
    resumed = Study(study.ledger, study.runs.with_columns(some))
    assert frontier(resumed, "train_flops").equals(frontier(study, "train_flops"))


def test_who_learned_as_much_and_kept_more_is_on_the_frontier_of_forgetting() -> None:
    study = synthetic_study(methods=METHODS, gains={"lora": 0.02, "full": -0.02}, source=True)
    # the synthetic source loses what the target wins, so each is on it; dora now loses more
    where = (pl.col("arm") == "dora r8") & (pl.col("stage") == "final")
    kept = pl.col("selected_source_accuracy") - pl.when(where).then(0.1).otherwise(0.0)
    study = Study(study.ledger, study.runs.with_columns(kept.alias("selected_source_accuracy")))
    found = by_arm(forgetting_frontier(study))
    assert [row["on_frontier"] for row in found.values()] == [True, True, False]
    row = found["dora r8"]
    finals = study.stage("final").filter(pl.col("arm") == "dora r8")
    assert row["learned"] == pytest.approx(finals["selected_test_accuracy"].mean())
    assert row["kept"] == pytest.approx(finals["selected_source_accuracy"].mean())
    assert row["forgot"] == pytest.approx(0.9 - row["kept"])
    assert row["forgot_low"] < row["forgot"] < row["forgot_high"]
    assert found["lora r8"]["probability"] == 1.0


def test_where_only_the_sources_loss_is_known_a_rise_of_it_is_what_was_forgotten() -> None:
    study = synthetic_study(methods=METHODS, source=True)
    unknown = [
        pl.lit(None, pl.Float64).alias(f"{when}_source_accuracy") for when in ("before", "selected")
    ]
    row = by_arm(forgetting_frontier(Study(study.ledger, study.runs.with_columns(unknown))))["full"]
    assert row["forgot"] == pytest.approx(row["kept"] - 0.2)
    assert row["forgot"] > 0


def test_from_scratch_nothing_could_be_forgotten() -> None:
    assert forgetting_frontier(synthetic_study()).is_empty()
