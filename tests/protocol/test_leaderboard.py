import polars as pl
import pytest
from synthetic_study import synthetic_study

from lowrank_bench.protocol.leaderboard import costs, leaderboard
from lowrank_bench.protocol.study import Study

GAINS = {"lora": 0.02, "dora": 0.0, "pissa": 0.0201}
METHODS = ("full", "lora", "dora", "pissa")


def test_ranked_arms_stand_by_their_mean_and_the_best_knows_who_ties_with_it() -> None:
    board = leaderboard(synthetic_study(methods=METHODS, gains=GAINS), resamples=99)
    assert set(board["arm"][:2]) == {"pissa r8", "lora r8"}
    assert board["place"].to_list() == [1, 2, 3, 4]
    assert board["mean"].is_sorted(descending=True)
    assert board["tied_with_best"].to_list() == [False, True, False, False]
    p = board["p_best"].to_list()
    assert p[0] is None and p[1] > 0.05 >= p[2] == p[3]


def test_of_a_loss_the_smallest_stands_first() -> None:
    board = leaderboard(synthetic_study(methods=METHODS, gains=GAINS, metric="loss"), resamples=99)
    assert set(board["arm"][:2]) == {"pissa r8", "lora r8"}
    assert board["mean"].is_sorted()
    assert board["tied_with_best"].to_list() == [False, True, False, False]


def test_a_difference_within_the_noise_floor_is_a_tie() -> None:
    given = {"methods": ("full", "lora"), "gains": {"lora": 0.003}, "noise": 0.0002}
    apart = leaderboard(synthetic_study(**given), resamples=99)
    assert apart["tied_with_best"].to_list() == [False, False]
    noisy = synthetic_study(**given, duplicates=2, duplicate_noise=0.02)
    assert leaderboard(noisy, resamples=99)["tied_with_best"].to_list() == [False, True]


def test_equal_arms_share_a_place() -> None:
    study = synthetic_study(noise=0.0)
    board = leaderboard(study, resamples=99)
    assert board["place"].to_list() == [1, 1, 1]
    assert board["arm"].to_list() == [arm.name for arm in study.ledger.arms]
    assert board["tied_with_best"].to_list() == [False, True, True]
    assert board["p_best"].to_list() == [None, 1.0, 1.0]


def test_an_unranked_arm_stands_last_whatever_its_mean_and_moves_nobody() -> None:
    study = synthetic_study(gains={"dora": 0.05}, defects={"dora r8": "budget"})
    board = leaderboard(study, resamples=99)
    assert board["arm"][2] == "dora r8" and board["mean"][2] == board["mean"].max()
    assert board["place"].to_list() == [1, 2, None]
    assert board["tied_with_best"][2] is None and board["p_best"][2] is None


def test_a_row_holds_the_mean_its_interval_and_what_it_cost() -> None:
    study = synthetic_study(methods=("full", "lora"))
    row = leaderboard(study).filter(arm="lora r8").row(0, named=True)
    finals = study.stage("final").filter(pl.col("arm") == "lora r8")
    assert row["n"] == 9
    assert row["mean"] == pytest.approx(finals["selected_test_accuracy"].mean())
    assert row["sd"] == pytest.approx(finals["selected_test_accuracy"].std())
    assert row["low"] < row["mean"] < row["high"]
    assert (row["lr"], row["setting"]) == (0.01, '{"lr": 0.01}')
    assert row["trainable"] == finals["params_trainable"][0]
    assert row["optimizer_state_bytes"] == finals["optimizer_state_bytes"][0]
    assert row["train_flops"] == finals["train_flops"][0]
    assert row["tuning_runs"] == 15
    assert row["tuning_flops"] == pytest.approx(15 * row["train_flops"])


def test_a_resumed_run_that_does_not_know_its_flops_changes_nothing() -> None:
    study = synthetic_study(methods=("full", "lora"))
    some = pl.col("seed").is_in([1, 101])
    unknown = pl.when(some).then(None).otherwise("train_flops").alias("train_flops")
    resumed = Study(study.ledger, study.runs.with_columns(unknown))
    assert leaderboard(resumed, resamples=99).equals(leaderboard(study, resamples=99))


def test_an_arm_without_finals_has_a_row_without_numbers() -> None:
    board = leaderboard(synthetic_study(defects={"lora r8": "untuned"}), resamples=99)
    row = board.row(-1, named=True)
    assert (row["arm"], row["n"]) == ("lora r8", 0)
    assert row["mean"] is row["low"] is row["sd"] is row["lr"] is row["trainable"] is None


def test_with_one_ranked_arm_nobody_ties() -> None:
    defects = {"lora r8": "edge", "dora r8": "edge"}
    board = leaderboard(synthetic_study(defects=defects), resamples=99)
    assert board["place"].to_list() == [1, None, None]
    assert board["tied_with_best"].to_list() == [False, None, None]


def test_what_a_machine_measured_stands_apart() -> None:
    study = synthetic_study(methods=("full", "lora"))
    assert not {"train_seconds", "peak_memory_bytes"} & set(leaderboard(study).columns)
    row = costs(study).row(1, named=True)
    finals = study.stage("final").filter(pl.col("arm") == "lora r8")
    assert (row["arm"], row["device"]) == ("lora r8", "cpu")
    assert row["train_seconds"] == pytest.approx(finals["train_seconds"].mean())
    assert row["train_seconds_low"] < row["train_seconds"] < row["train_seconds_high"]
    assert row["peak_memory_bytes"] == finals["peak_memory_bytes"][0]
    tuning = study.stage("tune").filter(pl.col("arm") == "lora r8")
    assert row["tuning_seconds"] == pytest.approx(tuning["train_seconds"].sum())


def test_seconds_on_unlike_devices_have_no_mean() -> None:
    study = synthetic_study(methods=("full", "lora"))
    where = (pl.col("arm") == "lora r8") & (pl.col("seed") == 101)
    device = pl.when(where).then(pl.lit("cuda")).otherwise("device").alias("device")
    table = costs(Study(study.ledger, study.runs.with_columns(device)))
    assert table["train_seconds"].is_null().to_list() == [False, True]
    assert table["peak_memory_bytes"].is_null().to_list() == [False, True]
