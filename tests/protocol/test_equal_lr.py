import polars as pl
import pytest
from synthetic_study import synthetic_study

from lowrank_bench.protocol.equal_lr import flips, winners
from lowrank_bench.protocol.study import Study

# lora wants a tenth of full's learning rate and is a little better when both are tuned.
APART = {
    "methods": ("full", "lora"),
    "best_lrs": {"full": 0.0316, "lora": 0.00316},
    "gains": {"lora": 0.003},
    "noise": 0.0,
}


def test_at_each_common_rate_the_best_of_the_arms_that_tried_it_wins() -> None:
    table = winners(synthetic_study(**APART))
    # full tried 0.00316 to 0.316, lora 0.000316 to 0.0316
    assert table["lr"].to_list() == [0.00316, 0.01, 0.0316]
    assert table["winner"].to_list() == ["lora r8", "lora r8", "full"]
    assert table["second"].to_list() == ["full", "full", "lora r8"]
    assert table["is_tuned_winner"].to_list() == [True, True, False]
    assert (table["value"] > table["second_value"]).all()
    assert table["num_arms"].to_list() == [2, 2, 2]


def test_how_far_the_winner_is_before_the_tuned_one_is_said() -> None:
    table = winners(synthetic_study(**APART))
    assert table["ahead"].to_list()[:2] == [0.0, 0.0]
    row = table.row(2, named=True)
    assert row["ahead"] == pytest.approx(row["value"] - row["second_value"])
    assert row["ahead"] > 0.005


def test_a_smaller_loss_wins() -> None:
    table = winners(synthetic_study(**APART, metric="loss"))
    assert table["winner"].to_list() == ["lora r8", "lora r8", "full"]
    assert (table["value"] < table["second_value"]).all()


def test_arms_without_a_rank_join_the_contest_of_every_rank() -> None:
    table = winners(synthetic_study(methods=("full", "lora", "dora"), ranks=(4, 8)))
    assert set(table["rank"]) == {4, 8}
    assert table["num_arms"].to_list() == [3] * 10
    for row in table.to_dicts():
        assert {row["winner"], row["second"]} <= {
            "full",
            f"lora r{row['rank']}",
            f"dora r{row['rank']}",
        }


def test_without_any_rank_there_is_one_contest() -> None:
    table = winners(synthetic_study(methods=("full", "head")))
    assert table["rank"].to_list() == [None] * 5


def test_only_default_knobs_and_whole_trials_take_part() -> None:
    study = synthetic_study(methods=("full", "lora"), knobs={"lora": ("k", [1, 2])})
    assert winners(study)["lr"].to_list() == [0.00316, 0.01, 0.0316]
    one = (pl.col("lr") == 0.01) & (pl.col("stage") == "tune") & (pl.col("seed") == 1)
    lame = pl.when(one & (pl.col("arm") == "full")).then(pl.lit("diverged")).otherwise("status")
    study = Study(study.ledger, study.runs.with_columns(status=lame))
    assert winners(study)["lr"].to_list() == [0.00316, 0.0316]


def test_the_flips_are_said_in_one_line() -> None:
    study = synthetic_study(**APART)
    line = flips(winners(study))
    assert line == "At 1 of 3 common rates that the tuned winner tried another arm would have won"
    assert flips(winners(study), study) == f"{line}, at 1 of them by more than 0.50 points"
    narrow = synthetic_study(**APART, margins={"accuracy": 0.5, "loss": 1.0})
    assert flips(winners(narrow), narrow) == f"{line}, at none of them by more than 50.00 points"


def test_a_rate_that_the_tuned_winner_did_not_try_is_no_flip() -> None:
    best_lrs = {"full": 0.1, "lora": 0.001, "dora": 0.001}
    study = synthetic_study(best_lrs=best_lrs, gains={"full": 0.02}, noise=0.0)
    table = winners(study)
    assert table["lr"].to_list() == [0.0001, 0.000316, 0.001, 0.00316, 0.01]
    assert table["ahead"].is_null().to_list() == [True, True, True, True, False]
    assert table["is_tuned_winner"].to_list() == [False] * 4 + [True]
    line = "At 0 of 1 common rates that the tuned winner tried another arm would have won"
    assert flips(table) == f"{line}; at 4 more it took no part"


def test_without_common_rates_it_says_so() -> None:
    study = synthetic_study(methods=("full",))
    table = winners(study)
    assert table.is_empty()
    assert "nothing can be said" in flips(table, study)


def test_of_several_ranks_the_pairs_are_counted() -> None:
    table = winners(synthetic_study(methods=("full", "lora"), ranks=(4, 8)))
    assert "of 10 pairs of a rank and a common rate that" in flips(table)
