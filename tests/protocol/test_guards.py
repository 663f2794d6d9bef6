import polars as pl
import pytest
from synthetic_study import DEFECTS, synthetic_study

from lowrank_bench.protocol.compare import comparisons
from lowrank_bench.protocol.guards import standing
from lowrank_bench.protocol.leaderboard import leaderboard
from lowrank_bench.protocol.study import Study

# What is said of each defect, in full
REASONS = {
    "budget": ["tuned over 4 trials, where each arm has 5"],
    "updates": ["runs of 215 updates, where the others have 430"],
    "edge": ["its best learning rate, 0.1, is the largest that was tried"],
    "two_lrs": [
        "2 learning rates tried, where 3 are the least",
        "its best learning rate, 0.01, is the smallest that was tried",
    ],
    "two_seeds": [
        "no finals on seeds 103, 104, 105, 106, 107 and 2 more",
        "2 fresh seeds, where 3 comparisons need 7",
    ],
    "missing": ["no finals on seeds 109"],
    "diverged": ["1 of 9 finals diverged"],
    "failed": ["1 of 9 finals failed"],
    "other_seeds": [
        "finals on seeds that the others do not have: 201, 202, 203, 204, 205 and 4 more",
        "no finals on seeds 101, 102, 103, 104, 105 and 4 more",
    ],
    "tuned_seed": ["finals on tuning seeds: 1", "no finals on seeds 101"],
    "control": ["another control in 1 of its 24 runs"],
    "tested": ["test data were touched in 15 tuning runs"],
    "receipts": ["receipts failed in 1 of 9 finals"],
    "untuned": [
        "not tuned: no trial was selected",
        "tuned over 0 trials, where each arm has 5",
    ],
}


def four_arms(**given) -> Study:
    given = {"methods": ("full", "lora", "dora", "pissa"), "noise": 0.001} | given
    return synthetic_study(**given)


def reasons(study: Study) -> dict[str, list[str]]:
    return dict(standing(study).select("arm", "reasons").iter_rows())


def test_arms_that_were_treated_alike_are_ranked() -> None:
    table = standing(four_arms())
    assert table["ranked"].to_list() == [True] * 4
    assert table["reasons"].to_list() == [[]] * 4


def test_each_defect_has_its_reason() -> None:
    assert set(REASONS) == set(DEFECTS)


@pytest.mark.parametrize("defect", DEFECTS)
def test_an_arm_with_a_defect_is_refused_by_name_and_the_others_are_not(defect: str) -> None:
    study = four_arms(defects={"dora r8": defect})
    found = reasons(study)
    assert found.pop("dora r8") == REASONS[defect]
    assert list(found.values()) == [[]] * 3
    board = leaderboard(study, resamples=99)
    last = board.row(-1, named=True)
    assert (last["arm"], last["place"], last["ranked"]) == ("dora r8", None, False)
    assert last["reason"] == "; ".join(REASONS[defect])
    assert board["place"].to_list()[:3] == [1, 2, 3]
    table = comparisons(study, resamples=99)
    by_arm = {row["arm"]: row for row in table.to_dicts()}
    assert by_arm["dora r8"]["verdict"] == "refused"
    assert by_arm["dora r8"]["p"] is by_arm["dora r8"]["p_holm"] is None
    for reason in REASONS[defect]:
        assert f"dora r8: {reason}" in by_arm["dora r8"]["why"]
    assert "refused" not in (by_arm["lora r8"]["verdict"], by_arm["pissa r8"]["verdict"])


def test_an_arm_may_have_several_reasons() -> None:
    study = four_arms(defects={"dora r8": "edge"})
    where = (pl.col("arm") == "dora r8") & (pl.col("stage") == "final")
    receipts = pl.when(where).then(1).otherwise("num_failed_receipts")
    broken = Study(study.ledger, study.runs.with_columns(num_failed_receipts=receipts))
    assert reasons(broken)["dora r8"] == [*REASONS["edge"], "receipts failed in 9 of 9 finals"]


def test_too_few_fresh_seeds_for_the_comparisons_refuse_every_arm_and_say_what_would_do() -> None:
    found = reasons(four_arms(seeds=6))
    assert list(found.values()) == [["6 fresh seeds, where 3 comparisons need 7"]] * 4
    assert list(reasons(four_arms(seeds=7)).values()) == [[]] * 4


def test_finals_of_another_setting_than_validation_favours_are_refused() -> None:
    study = four_arms()
    study.ledger.arm("dora r8").selected = 1
    assert reasons(study)["dora r8"] == [
        'the setting {"lr": 0.01} was better on validation than the selected one'
    ]


def test_of_a_loss_the_smaller_one_is_better_on_validation() -> None:
    assert list(reasons(four_arms(metric="loss")).values()) == [[]] * 4


def test_a_tuning_run_that_gave_no_result_is_a_smaller_budget() -> None:
    study = four_arms()
    one = (
        (pl.col("arm") == "dora r8")
        & (pl.col("stage") == "tune")
        & (pl.col("trial") == 0)
        & (pl.col("seed") == 1)
    )
    gone = Study(study.ledger, study.runs.filter(~one))
    expected = ["14 tuning runs gave a result, where each arm has 15"]
    assert reasons(gone)["dora r8"] == expected
    failed = pl.when(one).then(pl.lit("oom")).otherwise("status").alias("status")
    assert reasons(Study(study.ledger, study.runs.with_columns(failed)))["dora r8"] == expected
    diverged = pl.when(one).then(pl.lit("diverged")).otherwise("status").alias("status")
    assert reasons(Study(study.ledger, study.runs.with_columns(diverged)))["dora r8"] == []


def test_a_run_that_stopped_early_is_no_other_number_of_updates() -> None:
    study = four_arms()
    one = (pl.col("arm") == "dora r8") & (pl.col("trial") == 4)
    stopped = study.runs.with_columns(
        status=pl.when(one).then(pl.lit("diverged")).otherwise("status"),
        num_updates=pl.when(one).then(7.0).otherwise("num_updates"),
    )
    assert reasons(Study(study.ledger, stopped))["dora r8"] == []


def test_before_anything_ran_every_arm_is_refused() -> None:
    study = four_arms()
    study.ledger.metric = None
    for arm in study.ledger.arms:
        arm.selected, arm.trials, arm.runs = None, [], {}
    table = standing(Study(study.ledger, study.runs.clear()))
    assert not table["ranked"].any()
    assert table["reasons"].to_list() == [REASONS["untuned"]] * 4
