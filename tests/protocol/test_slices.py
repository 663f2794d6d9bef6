import polars as pl
import pytest
from synthetic_study import synthetic_study

from lowrank_bench.protocol.slices import slices
from lowrank_bench.protocol.study import Study

METHODS = ("full", "lora", "dora")
GAINS = {"full": 0.03, "lora r8": 0.02, "lora r4": 0.01, "dora r4": 0.0101, "dora r8": -0.01}


def study(**given) -> Study:
    given = {"methods": METHODS, "ranks": (4, 8), "gains": GAINS, "noise": 0.0005} | given
    return synthetic_study(**given, references=("full", "lora"))


def rows(of: Study, kind: str) -> dict[str, dict]:
    table = slices(of, resamples=99).filter(pl.col("kind") == kind)
    return {row["budget_of"]: row for row in table.to_dicts()}


def test_at_a_rank_the_best_of_exactly_that_rank_wins() -> None:
    found = rows(study(), "rank")
    assert list(found) == ["rank 4", "rank 8"]
    assert found["rank 8"]["winner"] == "lora r8" and found["rank 8"]["second"] == "dora r8"
    assert found["rank 8"]["num_arms"] == 2
    assert found["rank 8"]["difference"] == pytest.approx(0.03, abs=0.002)
    assert found["rank 8"]["low"] <= found["rank 8"]["difference"] <= found["rank 8"]["high"]


def test_a_difference_is_called_real_by_the_exact_test() -> None:
    found = rows(study(noise=0.002), "rank")
    assert found["rank 8"]["is_real"] and found["rank 8"]["p"] == 2 / 2 ** found_seeds()
    assert not found["rank 4"]["is_real"] and found["rank 4"]["p"] > 0.05


def found_seeds() -> int:
    return len(study().ledger.rules.fresh_seeds)


def test_within_a_budget_are_those_that_cost_as_much_or_less() -> None:
    for kind in ("parameters", "memory", "flops"):
        found = rows(study(), kind)
        assert list(found) == ["full", "lora r4", "lora r8"]
        assert [row["num_arms"] for row in found.values()] == [5, 2, 4]
        assert [row["winner"] for row in found.values()][::2] == ["full", "lora r8"]


def test_costs_within_five_hundredths_are_equal() -> None:
    base = study()
    for factor, num in ((1.04, 2), (1.06, 1)):
        more = pl.when(pl.col("arm") == "dora r4").then(pl.col("train_flops") * factor)
        runs = base.runs.with_columns(more.otherwise("train_flops").alias("train_flops"))
        assert rows(Study(base.ledger, runs), "flops")["lora r4"]["num_arms"] == num


def test_memory_is_the_measured_peak_or_else_that_of_optimizer_states() -> None:
    base = study()
    assert rows(base, "memory")["full"]["measured"] == "peak_memory_bytes"
    one = pl.when(pl.col("arm") == "full").then(None).otherwise("peak_memory_bytes")
    unknown = Study(base.ledger, base.runs.with_columns(peak_memory_bytes=one))
    assert rows(unknown, "memory")["full"]["measured"] == "optimizer_state_bytes"
    device = pl.when(pl.col("arm") == "full").then(pl.lit("cuda")).otherwise("device")
    mixed = Study(base.ledger, base.runs.with_columns(device=device))
    assert rows(mixed, "memory")["full"]["measured"] == "optimizer_state_bytes"


def test_only_ranked_arms_take_part() -> None:
    found = rows(study(defects={"lora r8": "budget"}), "rank")
    assert found["rank 8"]["winner"] == "dora r8"
    assert found["rank 8"]["num_arms"] == 1
    assert found["rank 8"]["second"] is found["rank 8"]["p"] is found["rank 8"]["is_real"] is None
    assert "lora r8" not in rows(study(defects={"lora r8": "budget"}), "parameters")


def test_of_a_loss_the_smaller_wins_by_a_positive_difference() -> None:
    row = rows(study(metric="loss"), "rank")["rank 8"]
    assert row["winner"] == "lora r8" and row["value"] < row["second_value"]
    assert row["difference"] > 0


def test_where_nothing_is_ranked_there_is_no_slice() -> None:
    assert slices(study(seeds=2)).is_empty()
