"""The tables of a study, as the page, Markdown and LaTeX have them."""

import re

import pytest
from planted import synthetic_study, view_of

from lowrank_bench.report.study import tables, tuning_tables
from lowrank_bench.report.study.cells import setting
from lowrank_bench.report.study.markup import latex, markdown
from lowrank_bench.report.study.view import View
from lowrank_bench.report.study_part import Cell, Column, PageTable

EVIL = "a_b|c & 50 % of $x$ #1 {\\input} <b>~^`*[y](z)\nnext"


@pytest.fixture
def table() -> PageTable:
    columns = [Column("name", "Name_1"), Column("value", "p | q", numeric=True)]
    rows = [{"name": EVIL, "value": Cell("1 %", 1)}, {"name": "[x]", "value": None}]
    return PageTable("Title_1", "100 % & more", columns, rows)


def test_latex_acts_upon_nothing_in_a_cell(table: PageTable) -> None:
    text = latex(table)
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    first, second = body.strip().split("\n")
    assert first.count(" & ") == 1  # the one between the two columns
    for bare in ("_", "%", "$", "#", "{", "}", "&"):
        unescaped = re.sub(r"\\text[a-z]+\{\}", "", first.replace(" & ", "", 1))
        assert not re.search(rf"(?<!\\){re.escape(bare)}", unescaped), bare
    assert r"\textbackslash{}input" in first
    assert r"\textasciitilde{}\textasciicircum{}" in first
    assert second.startswith("{}[x] & --")  # [x] alone would be a length
    assert r"\caption{Title\_1. 100 \% \& more}" in text
    assert r"\begin{tabular}{lr}" in text


def test_markdown_acts_upon_nothing_in_a_cell(table: PageTable) -> None:
    heading, _, columns, alignment, first, *_ = markdown(table).split("\n")
    assert heading == r"### Title\_1"
    assert columns == r"| Name\_1 | p \| q |"
    assert alignment == "| :--- | ---: |"
    assert len(re.findall(r"(?<!\\)\|", first)) == 3
    assert r"\<b\>\~" in first
    assert r"\[y\](z) next" in first  # one line, no link


def test_the_leaderboard_tells_places_ties_and_why_not(view: View) -> None:
    board = tables.leaderboard(view)
    rows = {(row["method"], row["rank"]): row for row in board.rows}
    assert rows["lora", 8]["place"] == Cell("1", 1)
    assert rows["lora", 2]["place"] == Cell("unranked")
    assert "is the largest that was tried" in rows["lora", 2]["reason"].text
    assert rows["lora", 2]["reason"].is_bad
    assert rows["full", None]["mean"].text.endswith(" %")
    tied = synthetic_tie()
    assert [row["place"].text for row in tables.leaderboard(tied).rows] == ["1", "2 (ties)"]


def synthetic_tie() -> View:

    return view_of(synthetic_study(methods=("full", "lora"), seeds=8, noise=0.003))


def test_comparisons_tell_the_verdict_and_the_reason(view: View) -> None:
    rows = {(row["reference"], row["arm"]): row for row in tables.comparisons(view).rows}
    assert rows["full", "lora r8"]["verdict"] == Cell("better")
    assert rows["full", "lora r8"]["score"].text == "10–0–0"
    assert rows["full", "lora r2"]["verdict"].is_bad
    assert "largest that was tried" in rows["full", "lora r2"]["why"]


def test_tuning_tells_what_was_spent(view: View) -> None:
    rows = {(row["method"], row["rank"]): row for row in tuning_tables.tuning(view).rows}
    assert rows["lora", 8]["runs"] == 15
    assert rows["dora", 8]["diverged"].text == "20 %"
    assert rows["dora", 8]["seconds"].text.endswith(" s")
    assert rows["lora", 2]["edge"] == Cell("high", is_bad=True)
    assert rows["full", None]["flops"].order == pytest.approx(
        view.study.stage("tune")
        .filter(view.study.stage("tune")["arm"] == "full")["train_flops"]
        .sum()
    )


def test_every_trial_is_in_the_table(view: View) -> None:
    rows = tuning_tables.trials(view).rows
    assert len(rows) == 5 * len(view.study.ledger.arms)
    assert sum(row["selected"] == "yes" for row in rows) == len(view.study.ledger.arms)
    lost = [row for row in rows if row["lost"].is_bad]
    assert {(row["method"], row["lr"].text) for row in lost} == {("dora", "1")}
    assert all(row["mean"].text == "–" for row in lost)


def test_slices_and_equal_rates_have_a_row_each(view: View) -> None:
    assert {row["kind"] for row in tables.slices(view).rows} == {
        *("rank", "parameters", "memory", "FLOPs")
    }
    assert len(tuning_tables.equal_lr(view).rows) == len(view.winners)


def test_the_protocol_is_what_was_declared(view: View) -> None:
    said = {row["rule"]: row["value"] for row in tuning_tables.protocol(view).rows}
    assert said["Fresh seeds"].startswith("101, 102")
    assert said["References"] == "full, lora"
    assert said["Familywise error rate"] == "0.05"


def test_a_setting_is_written_without_its_path() -> None:
    assert setting('{"lr": 0.01, "method.optimizer.ratio": 4}') == "lr 0.01, ratio 4"
    assert setting(None) == "–"
