import json

import polars as pl
import pytest
from synthetic_study import synthetic_study

from lowrank_bench.protocol.study import Study
from lowrank_bench.protocol.tuning import knobs, sensitivity, trials


def changed(study: Study, where: pl.Expr, **values: pl.Expr | float | str | None) -> Study:
    """The study with other values in some of its runs."""
    new = {
        name: pl.when(where).then(value if isinstance(value, pl.Expr) else pl.lit(value))
        .otherwise(pl.col(name))
        for name, value in values.items()
    }  # fmt: skip
    runs = study.runs.with_columns(**new).cast(dict(study.runs.schema))  # type: ignore[arg-type]
    return Study(study.ledger, runs)


def test_a_trial_is_one_row_with_the_mean_and_spread_of_its_seeds() -> None:
    study = synthetic_study(methods=("full", "lora"), ranks=(4, 8))
    table = trials(study)
    assert table.height == 3 * 5
    row = table.row(6, named=True)
    own = study.stage("tune").filter(pl.col("arm") == row["arm"], pl.col("trial") == row["trial"])
    values = own["selected_val_accuracy"]
    assert (row["arm"], row["trial"], row["lr"]) == ("lora r4", 1, 0.00316)
    assert json.loads(row["setting"]) == {"lr": 0.00316}
    assert row["mean"] == pytest.approx(values.mean())
    assert row["sd"] == pytest.approx(values.std())
    assert (row["low"], row["high"]) == (values.min(), values.max())
    assert (row["n"], row["n_wanted"], row["diverged"], row["failed"]) == (3, 3, 0, 0)


def test_the_selected_trial_is_marked_once_an_arm() -> None:
    study = synthetic_study()
    marked = trials(study).filter("selected")
    assert marked["arm"].to_list() == [arm.name for arm in study.ledger.arms]
    assert marked["trial"].to_list() == [arm.selected for arm in study.ledger.arms]


def test_a_trial_without_runs_is_there_and_empty() -> None:
    study = synthetic_study(methods=("full",))
    bare = Study(study.ledger, study.runs.filter(pl.col("trial") != 0))
    row = trials(bare).row(0, named=True)
    assert (row["n"], row["n_wanted"], row["mean"], row["sd"]) == (0, 3, None, None)


def test_runs_that_diverged_or_failed_are_counted_and_enter_no_mean() -> None:
    study = synthetic_study(methods=("full",))
    first = (pl.col("trial") == 0) & (pl.col("stage") == "tune")
    for status, column in (("diverged", "diverged"), ("failed", "failed"), ("oom", "failed")):
        ended = changed(
            study, first & (pl.col("seed") == 1), status=status, selected_val_accuracy=None
        )
        row = trials(ended).row(0, named=True)
        assert (row["n"], row[column]) == (2, 1)
        assert row["mean"] == pytest.approx(
            study.runs.filter(first, pl.col("seed") > 1)["selected_val_accuracy"].mean()
        )


def test_knobs_are_written_without_the_learning_rate() -> None:
    assert knobs({"lr": 0.01}) == ""
    assert knobs({"lr": 0.01, "method.optimizer.ratio": 4, "x": "y"}) == "optimizer.ratio=4, x=y"


def test_an_arms_best_is_the_selected_setting() -> None:
    study = synthetic_study(
        methods=("full", "lora"), best_lrs={"full": 0.00316, "lora": 0.0316}, noise=0.0
    )
    table = sensitivity(study)
    assert table["best_lr"].to_list() == [0.00316, 0.0316]
    assert table["on_edge"].to_list() == [None, None]
    selected = trials(study).filter("selected")
    assert table["best_val"].to_list() == selected["mean"].to_list()
    assert table["num_trials"].to_list() == table["num_lrs"].to_list() == [5, 5]
    assert table["runs"].to_list() == [15, 15]


def test_the_edge_is_that_of_what_was_tried() -> None:
    study = synthetic_study(methods=("full", "lora"), defects={"lora r8": "edge"})
    assert sensitivity(study)["on_edge"].to_list() == [None, "high"]
    for arm in study.ledger.arms:
        arm.selected = 0
    assert sensitivity(study)["on_edge"].to_list() == ["low", "low"]


def test_a_rate_that_diverged_was_tried_and_one_that_never_ran_was_not() -> None:
    study = synthetic_study(methods=("full",))
    study.ledger.arms[0].selected = 3
    last = (pl.col("trial") == 4) & (pl.col("stage") == "tune")
    diverged = changed(study, last, status="diverged", selected_val_accuracy=None)
    assert sensitivity(diverged)["on_edge"].to_list() == [None]
    assert sensitivity(diverged)["divergence_rate"].to_list() == [3 / 15]
    never = Study(study.ledger, study.runs.filter(~last))
    assert sensitivity(never)["on_edge"].to_list() == ["high"]
    assert sensitivity(never)["num_lrs"].to_list() == [4]


def test_the_band_is_the_range_within_one_point_of_the_best() -> None:
    # curvature c loses c / 4 at a half decade and c at a whole one
    for curvature, low, high, decades in (
        (0.1, 0.01, 0.01, 0.0),
        (0.03, 0.00316, 0.0316, 1.0),
        (0.009, 0.001, 0.1, 2.0),
    ):
        study = synthetic_study(methods=("full",), noise=0.0, curvature=curvature)
        row = sensitivity(study).row(0, named=True)
        assert (row["band_low"], row["band_high"]) == (low, high)
        assert row["band_decades"] == pytest.approx(decades, abs=1e-3)
        assert row["at_least"] == (decades == 2.0)


def test_the_band_stops_at_a_rate_that_diverged() -> None:
    study = synthetic_study(methods=("full",), noise=0.0, curvature=0.009, diverges_above=0.02)
    row = sensitivity(study).row(0, named=True)
    assert (row["band_low"], row["band_high"], row["at_least"]) == (0.001, 0.01, True)


def test_settings_with_knobs_are_no_part_of_the_band() -> None:
    extra = {"lora": ("k", [1, 2])}
    study = synthetic_study(methods=("lora",), noise=0.0, curvature=0.03, knobs=extra)
    found = trials(study)
    assert found["knobs"].to_list() == ["", "", "", "k=1", "k=2"]
    row = sensitivity(study).row(0, named=True)
    assert (row["num_trials"], row["num_lrs"]) == (5, 3)
    assert (row["band_low"], row["band_high"]) == (0.00316, 0.0316)


def test_a_loss_has_its_band_in_nats() -> None:
    # the synthetic loss is twice what is lost of the accuracy, the band 0.02 nats wide
    study = synthetic_study(methods=("full",), noise=0.0, curvature=0.03, metric="loss")
    row = sensitivity(study).row(0, named=True)
    assert (row["best_lr"], row["band_low"], row["band_high"]) == (0.01, 0.00316, 0.0316)


def test_what_tuning_took_is_summed_and_a_run_that_stopped_counts_as_a_whole_one() -> None:
    study = synthetic_study(methods=("full",))
    whole = sensitivity(study).row(0, named=True)
    tune = study.stage("tune")
    assert whole["updates"] == tune["num_updates"].sum()
    assert whole["flops"] == pytest.approx(tune["train_flops"].sum())
    assert whole["seconds"] == pytest.approx(tune["train_seconds"].sum())
    one = (pl.col("trial") == 4) & (pl.col("seed") == 1) & (pl.col("stage") == "tune")
    stopped = changed(
        study, one, status="diverged", num_updates=None, train_flops=None, train_seconds=None
    )
    row = sensitivity(stopped).row(0, named=True)
    assert (row["updates"], row["flops"]) == (whole["updates"], whole["flops"])
    assert row["seconds"] is None  # a clock's reading cannot be made up


def test_before_anything_ran_there_is_a_row_an_arm_and_no_number() -> None:
    study = synthetic_study(methods=("full", "lora"))
    for arm in study.ledger.arms:
        arm.trials, arm.selected = [], None
    empty = Study(study.ledger, study.runs.clear())
    study.ledger.metric = None
    assert trials(empty).is_empty()
    row = sensitivity(empty).row(1, named=True)
    assert (row["arm"], row["num_trials"], row["runs"]) == ("lora r8", 0, 0)
    assert row["best_lr"] is row["band_decades"] is row["divergence_rate"] is row["flops"] is None
