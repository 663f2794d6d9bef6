import numpy as np
import polars as pl
import pytest
from synthetic_study import synthetic_study

from lowrank_bench.protocol.compare import comparisons
from lowrank_bench.protocol.study import Study


def with_finals(study: Study, arm: str, differences: list[float]) -> Study:
    """The finals of `arm` are so much better than those of full, seed by seed."""
    final = pl.col("stage") == "final"
    full = study.runs.filter(final, pl.col("arm") == "full").sort("seed")
    moved = full.select("seed").with_columns(
        better=study.ledger.sign * pl.Series(differences) + full[study.test]
    )
    runs = study.runs.join(moved, on="seed", how="left", maintain_order="left")
    new = pl.when(final & (pl.col("arm") == arm)).then("better").otherwise(study.test)
    return Study(study.ledger, runs.with_columns(new.alias(study.test)).drop("better"))


def one(differences: list[float], **given) -> dict:
    """The only row of a study of full and one other arm."""
    given = {"methods": ("full", "lora"), "seeds": len(differences)} | given
    study = with_finals(synthetic_study(**given), "lora r8", differences)
    return comparisons(study).row(0, named=True)


def test_a_row_holds_the_paired_difference() -> None:
    differences = [0.01, 0.02, 0.0, -0.004, 0.012, 0.009, 0.015]
    row = one(differences)
    assert (row["reference"], row["arm"], row["n"]) == ("full", "lora r8", 7)
    assert row["mean_diff"] == pytest.approx(np.mean(differences))
    assert row["low"] < row["mean_diff"] < row["high"]
    assert (row["wins"], row["ties"], row["losses"]) == (5, 1, 1)


def test_more_on_every_seed_is_better_and_less_is_worse() -> None:
    better = one([0.011, 0.02, 0.01, 0.014, 0.012, 0.009])
    assert (better["verdict"], better["why"]) == ("better", "real")
    assert better["p"] == better["p_holm"] == 2 / 64
    assert better["test"] == "permutation"
    worse = one([-0.011, -0.02, -0.01, -0.014, -0.012, -0.009])
    assert worse["verdict"] == "worse"
    assert worse["mean_diff"] == pytest.approx(-better["mean_diff"])
    assert (worse["low"], worse["high"]) == pytest.approx(
        (-better["high"], -better["low"]), abs=5e-4
    )


def test_a_smaller_loss_is_better() -> None:
    row = one([0.03, 0.02, 0.04, 0.02, 0.03, 0.05], metric="loss")
    assert row["mean_diff"] == pytest.approx(0.19 / 6)
    assert (row["verdict"], row["wins"]) == ("better", 6)


def test_small_differences_both_ways_are_equivalent() -> None:
    row = one([0.001, -0.001, 0.0005, -0.0012, 0.0, 0.0006])
    assert row["verdict"] == "equivalent"
    assert row["p_within"] == 1 / 64
    assert row["why"] == "within the margin of 0.50 points"


def test_the_margin_is_the_one_that_was_stated() -> None:
    differences = [0.001, -0.001, 0.0005, -0.0012, 0.0, 0.0006]
    row = one(differences, margins={"accuracy": 0.0004, "loss": 0.01})
    assert row["verdict"] == "undecided"
    assert row["why"] == "neither real nor shown to be within the margin of 0.04 points"


def test_large_differences_both_ways_are_undecided() -> None:
    row = one([0.02, -0.02, 0.01, -0.015, 0.005, 0.02])
    assert row["verdict"] == "undecided"


def test_a_difference_may_be_real_and_smaller_than_the_margin() -> None:
    row = one([0.001, 0.0012, 0.0009, 0.0013, 0.0008, 0.001])
    assert row["verdict"] == "better"
    assert row["why"] == "real, but smaller than the margin of 0.50 points"


def test_a_real_difference_of_about_the_margin_is_neither_above_nor_below() -> None:
    row = one([0.001, 0.009, 0.002, 0.008, 0.004, 0.001])
    assert row["verdict"] == "better"
    assert row["why"] == "real; not shown to be above or below the margin of 0.50 points"


def test_a_difference_that_is_not_larger_than_the_noise_floor_is_not_real() -> None:
    given = {"duplicates": 1, "margins": {"accuracy": 0.0001, "loss": 0.01}}
    small = [0.001, 0.0012, 0.0009, 0.0013, 0.0008, 0.001]
    row = one(small, **given, duplicate_noise=0.02)
    assert row["p_holm"] <= 0.05
    assert row["verdict"] == "undecided"
    assert row["why"].startswith("not larger than the noise floor of")
    assert one(small, **given, duplicate_noise=0.0)["verdict"] == "better"


def test_equal_runs_are_ties_without_a_warning() -> None:
    row = one([0.0] * 9)
    assert (row["wins"], row["ties"], row["losses"]) == (0, 9, 0)
    assert (row["mean_diff"], row["low"], row["high"], row["p"]) == (0.0, 0.0, 0.0, 1.0)
    assert row["verdict"] == "equivalent"


def test_equal_differences_have_a_point_for_an_interval() -> None:
    row = one([0.01] * 9)
    assert (row["low"], row["high"]) == (0.01, 0.01)
    assert (row["verdict"], row["p"]) == ("better", 2 / 512)


def test_beyond_thirteen_seeds_the_test_is_wilcoxons() -> None:
    row = one([0.01 + 0.001 * i for i in range(14)])
    assert (row["test"], row["p"]) == ("wilcoxon", 2 / 2**14)


@pytest.mark.parametrize("num", [1, 2, 5])
def test_too_few_seeds_are_shown_and_not_judged(num: int) -> None:
    row = one([0.01 + 0.001 * i for i in range(num)])
    assert (row["verdict"], row["n"], row["wins"]) == ("refused", num, num)
    assert row["mean_diff"] == pytest.approx(0.01 + 0.001 * (num - 1) / 2)
    assert row["p"] is row["p_holm"] is row["test"] is None
    assert (row["low"] is None) == (num == 1)
    assert "fresh seed" in row["why"] and "one comparison needs 6" in row["why"]


def test_pairs_are_made_by_seed_and_by_nothing_else() -> None:
    differences = [0.001 * i for i in range(1, 9)]
    study = with_finals(
        synthetic_study(methods=("full", "lora"), seeds=8, seed_effect=0.05), "lora r8", differences
    )
    gone = (pl.col("stage") == "final") & (pl.col("arm") == "lora r8") & (pl.col("seed") == 103)
    row = comparisons(Study(study.ledger, study.runs.filter(~gone))).row(0, named=True)
    assert row["n"] == 7
    assert row["mean_diff"] == pytest.approx((sum(differences) - 0.003) / 7)
    assert row["verdict"] == "refused"
    assert row["why"] == "lora r8: no finals on seeds 103"


def test_runs_under_another_control_enter_no_difference() -> None:
    study = synthetic_study(methods=("full", "lora"), defects={"lora r8": "control"})
    assert comparisons(study).row(0, named=True)["n"] == 8


def test_arms_without_a_rank_are_held_against_a_reference_without_one() -> None:
    study = synthetic_study(
        methods=("full", "bitfit", "lora", "dora"), ranks=(4, 8), references=("full", "lora")
    )
    pairs = comparisons(study, resamples=99).select("reference", "arm").rows()
    assert pairs == study.ledger.comparisons()
    assert ("full", "bitfit") in pairs
    assert ("lora r4", "dora r4") in pairs
    assert ("lora r4", "dora r8") not in pairs and ("lora r4", "bitfit") not in pairs


def test_holms_family_is_all_comparisons_that_are_not_refused() -> None:
    methods = ("full", "m1", "m2", "m3", "m4")
    gains = {"m1": 0.02}
    study = synthetic_study(methods=methods, gains=gains, noise=0.0005, defects={"m4 r8": "edge"})
    table = comparisons(study, resamples=99)
    first = table.row(0, named=True)
    assert first["p"] == 2 / 512
    assert first["p_holm"] == pytest.approx(3 * 2 / 512)
    assert table["p_holm"].to_list()[3] is None


def test_when_the_reference_is_refused_nothing_is_held_against_it() -> None:
    study = synthetic_study(defects={"full": "edge"})
    table = comparisons(study, resamples=99)
    assert table["verdict"].to_list() == ["refused"] * 2
    assert table["why"].str.starts_with("full: its best learning rate").all()


def test_before_anything_ran_every_comparison_is_refused() -> None:
    study = synthetic_study()
    study.ledger.metric = None
    table = comparisons(Study(study.ledger, study.runs.clear()))
    assert table["verdict"].to_list() == ["refused"] * 2
    assert table["n"].to_list() == [0, 0]
    assert table["mean_diff"].to_list() == [None, None]
