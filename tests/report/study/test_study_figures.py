"""The figures of a study: each renders, and its title says what was planted."""

from typing import Any

import polars as pl
import pytest
from planted import synthetic_study, view_of

from lowrank_bench.protocol.study import Study
from lowrank_bench.report.allocation import SCHEMA
from lowrank_bench.report.figure import Figure
from lowrank_bench.report.images import svg
from lowrank_bench.report.study.best_rates import best_rates
from lowrank_bench.report.study.budgets import budgets
from lowrank_bench.report.study.costs import costs
from lowrank_bench.report.study.forest import forests, slug
from lowrank_bench.report.study.forgetting import forgetting
from lowrank_bench.report.study.part import figures
from lowrank_bench.report.study.rates import rates
from lowrank_bench.report.study.same_rate import same_rate
from lowrank_bench.report.study.spectra import spectra
from lowrank_bench.report.study.view import View

ALL = [
    *("against-full", "against-lora", "costs", "forgetting", "budgets", "rates", "best-rates"),
    *("same-rate", "spectra", "allocation"),
]


def with_change(study: Study) -> Study:
    """As if weights had moved along twice as many directions as the rank, plus one."""
    rank = pl.col("rank").fill_null(30).cast(pl.Float64)
    columns = ("change_components_90", "change_stable_rank", "change_relative_norm")
    return Study(
        study.ledger, study.runs.with_columns((2 * rank + 1).alias(name) for name in columns)
    )


def rows_of(figure: Figure | None, dataset: str) -> dict[str, dict[str, Any]]:
    assert figure is not None
    return {row["arm"]: row for row in figure.datasets[dataset]}


@pytest.mark.slow
def test_every_figure_renders_with_marks(study: Study) -> None:
    cells = [("adalora r8", "adalora", 8, 1, f"blocks.{i}.attn.q", i) for i in range(3)]
    ranks = pl.DataFrame(cells, schema=SCHEMA, orient="row")
    drawn = figures(view_of(with_change(study), ranks))
    assert [figure.name for figure in drawn] == ALL
    for figure in drawn:
        image = svg(figure)
        assert image.count("<path") > 10, figure.name
        assert "NaN" not in image, figure.name
        # as the page draws it: every dataset that a panel names is there
        for panel in figure.page_specs():
            assert {layer["data"]["name"] for layer in panel["layer"]} <= figure.datasets.keys()


def test_the_forest_says_the_planted_verdicts(view: View) -> None:
    against_full = forests(view)[0]
    rows = rows_of(against_full, "full")
    assert rows["lora r8"]["verdict"] == "better"
    assert rows["dora r8"]["verdict"] == "worse"
    refused = rows_of(against_full, "full far left")["lora r2"]
    assert refused["verdict"] == rows["adalora r2"]["verdict"] == "refused"
    assert "largest that was tried" in refused["why"]
    assert rows["lora r8"]["low"] < 1 < rows["lora r8"]["high"]
    assert "1 better" in against_full.finding
    assert "2 refused" in against_full.finding
    assert against_full.datasets["margin"] == [{"low": -0.5, "high": 0.5, "zero": 0}]


def test_the_forest_is_sorted_and_the_better_for_a_loss_is_right_too() -> None:
    given = {"gains": {"lora": 0.02, "dora": -0.02}, "metric": "loss", "seeds": 9}
    [figure] = forests(view_of(synthetic_study(**given)))
    names = [row["arm"] for row in figure.datasets["full"]]
    assert names == ["lora r8", "dora r8"]
    assert figure.datasets["full"][0]["mean"] > 0


def test_what_is_much_further_off_than_most_is_an_arrow_at_the_edge() -> None:
    gains = {"lora": -0.3}
    methods = ("full", "lora", "dora", "pissa", "vera", "hira")
    [figure] = forests(view_of(synthetic_study(methods=methods, gains=gains)))
    far = rows_of(figure, "full far left")
    assert set(far) == {"lora r8"}
    assert far["lora r8"]["arrow"].startswith("← -29.9")
    assert "lora r8" not in rows_of(figure, "full")


def test_the_rates_mark_the_band_what_was_selected_and_what_diverged(view: View) -> None:
    figure = rates(view)
    assert figure is not None
    assert [panel.title for panel in figure.panels] == ["Rank 2", "Rank 8", "Without a rank"]
    chosen = {row["arm"]: row["lr"] for row in figure.datasets["Rank 8 chosen"]}
    assert chosen["dora r8"] == pytest.approx(0.1)
    band = [row["lr"] for row in figure.datasets["Rank 8 band"] if row["arm"] == "dora r8"]
    assert band == pytest.approx([0.0316, 0.1, 0.316], rel=0.01)
    crosses = {(row["method"], row["lr"]) for row in figure.datasets["Rank 8 diverged"]}
    assert crosses == {("dora", 1.0)}
    assert figure.datasets["Rank 8 knobs"][0]["setting"] == "lr 0.00316, optimizer.ratio=4"
    assert "2 of 35 trials had a run that diverged" in figure.finding


def test_what_lies_too_far_below_to_be_drawn_is_named() -> None:
    methods = ("full", "lora", "dora", "pissa")
    figure = rates(view_of(synthetic_study(methods=methods, gains={"lora": 0.01, "dora": -0.3})))
    assert figure is not None
    assert "below the shown range, with all of dora r8." in figure.caption
    loss = rates(view_of(synthetic_study(metric="loss")))
    assert loss is not None
    assert "within 0.02 nats" in loss.caption


def test_the_best_rates_say_how_far_apart_they_lie(view: View) -> None:
    figure = best_rates(view)
    assert figure is not None
    rows = rows_of(figure, "ranked")
    assert rows["lora r2"]["is_on_edge"] == "high"
    assert rows["dora r8"]["best_lr"] == pytest.approx(0.1)
    assert "apart, from 0.00316" in figure.finding


def test_the_frontier_of_costs_is_the_planted_one(view: View) -> None:
    figure = costs(view)
    assert figure is not None
    assert [panel.title for panel in figure.panels][:2] == ["Rank", "Trainable parameters"]
    rows = rows_of(figure, "params_trainable")
    assert rows["lora r8"]["on"]  # the best of all
    assert not rows["full"]["on"]  # worse, and more parameters
    assert rows["lora r8"]["chance"] > 0.95
    hollow = rows_of(figure, "params_trainable unranked")
    assert set(hollow) == {"adalora r2"}  # lora r2 is too far below
    assert "Too far off to be shown: lora r2" in figure.caption
    stair = [r["arm"] for r in figure.datasets["frontier"] if r["cost"] == "params_trainable"]
    assert stair[-1] == "lora r8"
    assert "lora r8" in figure.finding
    assert [row["arm"] for row in figure.datasets["levels"]] == ["full"]


def test_marks_of_one_rank_do_not_lie_over_each_other(view: View) -> None:
    figure = costs(view)
    assert figure is not None
    xs = [row["x"] for row in figure.datasets["rank"]]
    assert len(set(xs)) == len(xs)
    assert all(abs(row["x"] / row["rank"] - 1) < 0.9 for row in figure.datasets["rank"])


def test_the_tiles_show_who_wins_at_equal_rates(view: View) -> None:
    figure = same_rate(view)
    assert figure is not None
    tiles = {(row["rank_of"], row["lr"]): row for row in figure.datasets["winners"]}
    assert tiles["rank 8", "tuned"]["label"] == "lora r8"
    assert tiles["rank 8", "0.1"]["label"] == "full"  # lora did not go there, the others are worse
    assert tiles["rank 8", "0.1"]["fill"] > tiles["rank 8", "0.00316"]["fill"]


def test_a_lead_that_is_not_told_apart_is_hollow() -> None:
    equal = view_of(synthetic_study(methods=("full", "lora", "dora"), gains={}, seeds=9))
    figure = budgets(equal)
    assert figure is not None
    assert "real" not in figure.datasets
    assert figure.finding.startswith("In 0 of ")
    ahead = budgets(view_of(synthetic_study(gains={"dora": 0.03}, seeds=9)))
    assert ahead is not None
    assert {row["method"] for row in ahead.datasets["real"]} == {"dora"}


def test_who_learns_more_forgets_more(view: View) -> None:
    figure = forgetting(view)
    assert figure is not None
    rows = rows_of(figure, "ranked")
    assert rows["lora r8"]["x"] > rows["dora r8"]["x"]
    assert rows["lora r8"]["y"] < rows["dora r8"]["y"]
    assert set(rows_of(figure, "unranked")) == {"lora r2", "adalora r2"}
    assert "lora r8" in figure.finding


def test_no_source_gives_no_plane_and_no_change_no_spectra() -> None:
    plain = view_of(synthetic_study())
    assert forgetting(plain) is None
    assert spectra(plain) is None


def test_spectra_tell_whose_change_exceeds_its_rank(study: Study) -> None:
    figure = spectra(view_of(with_change(study)))
    assert figure is not None
    assert "in 5 directions" in figure.finding
    assert "in 61 for full" in figure.finding
    assert figure.finding.endswith("3 of 3 ranked methods exceed their rank")


@pytest.mark.parametrize(
    ("text", "name"), [("lora", "lora"), ("full (init=a/b)", "full-init-a-b"), ("é", "method")]
)
def test_a_method_can_be_part_of_a_files_name(text: str, name: str) -> None:
    assert slug(text) == name
