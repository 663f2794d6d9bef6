"""A study as a part of the page: from records, from the compact table, and before it is done."""

from dataclasses import replace
from pathlib import Path

import pytest
from planted import synthetic_study, view_of
from study_records import write_records

from lowrank_bench.errors import ConfigError
from lowrank_bench.protocol.ledger import Arm
from lowrank_bench.protocol.study import FINAL, Study
from lowrank_bench.report.label import with_labels
from lowrank_bench.report.load import gather
from lowrank_bench.report.study.build import has_compact, study_files, study_parts
from lowrank_bench.report.study.found import folders
from lowrank_bench.report.study.headline import headline_spec
from lowrank_bench.report.study.papers import pdfs
from lowrank_bench.report.study.part import part
from lowrank_bench.report.study.progress import missing


@pytest.fixture(scope="module")
def small() -> Study:
    return synthetic_study(methods=("full", "lora", "adalora"), seeds=6, duplicates=1)


@pytest.mark.slow
def test_the_compact_table_alone_redraws_what_the_records_gave(
    small: Study, tmp_path: Path
) -> None:
    runs = write_records(small, tmp_path / "runs")
    files = study_files([runs], with_labels(gather([runs])))
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert {"study/study.json", "study/study_runs.csv", "study/study_ranks.csv"} <= files.keys()
    again = study_files([tmp_path / "study"], None)
    assert again.keys() == files.keys()
    assert [name for name in files if files[name] != again[name]] == []


@pytest.mark.slow
def test_duplicates_are_found_in_their_hidden_folder(small: Study, tmp_path: Path) -> None:
    runs = write_records(small, tmp_path / "runs")
    [made] = study_parts([runs], with_labels(gather([runs])))
    assert any("noise floor is" in said for said in made.findings)
    assert made.warnings == []


def test_studies_are_found_in_a_folder_and_directly_below(small: Study, tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden"):
        small.write(tmp_path / name)
    (tmp_path / "c").mkdir()
    assert folders([tmp_path, tmp_path / "a"]) == [tmp_path / "a", tmp_path / "b"]
    assert has_compact(tmp_path)
    assert not has_compact(tmp_path / "c")
    assert not has_compact(tmp_path / "nowhere")
    (tmp_path / "a" / "study_runs.csv").unlink()
    assert not has_compact(tmp_path / "a")


def test_no_study_is_no_part(tmp_path: Path) -> None:
    assert study_parts([tmp_path], None) == []
    assert study_files([tmp_path], None) == {}


def test_a_file_that_is_something_else_is_one_line(small: Study, tmp_path: Path) -> None:
    small.write(tmp_path)
    (tmp_path / "study_ranks.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match=r"study_ranks\.csv: not a table of ranks"):
        study_parts([tmp_path], None)
    (tmp_path / "study.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"study\.json: not a study"):
        study_parts([tmp_path], None)


def test_a_study_without_a_run_says_what_is_missing(small: Study) -> None:
    ledger = small.ledger
    arms = [Arm(arm.name, arm.method, arm.rank, arm.overrides) for arm in ledger.arms]
    empty = Study(replace(ledger, metric=None, arms=arms, duplicates={}), small.runs.clear())
    made = part(view_of(empty), 1, "study")
    assert made.findings == ["No run has given a result yet: nothing can be said."]
    assert "Not finished: there are 0 of 45 tuning runs." in made.warnings
    assert "No setting has been selected yet for full, lora r8 and adalora r8." in made.warnings
    assert made.figures == []
    assert [table.title for table in made.tables] == ["The protocol, as it was declared"]


def test_a_tuned_study_without_finals_shows_how_it_was_tuned(small: Study) -> None:
    tuned = Study(small.ledger, small.stage("tune"))
    made = part(view_of(tuned), 1, "study")
    assert [figure.name for figure in made.figures] == ["rates", "best-rates", "same-rate"]
    assert made.findings[0] == "No arm is ranked: no claim can be made."
    assert "Not finished: there are 0 of 18 finals." in made.warnings
    assert "study/headline.png" not in made.files


def test_one_arm_that_failed_leaves_the_others() -> None:
    broken = synthetic_study(methods=("full", "lora"), seeds=6, defects={"lora r8": "untuned"})
    made = part(view_of(broken), 1, "study")
    assert any("lora r8 is not ranked: not tuned" in said for said in made.findings)
    board = next(table for table in made.tables if table.title == "Leaderboard")
    assert [row["method"] for row in board.rows] == ["full", "lora"]
    failed = next(table for table in made.tables if table.title == "Receipts and failures")
    assert [(row["method"], row["failed"]) for row in failed.rows] == [("lora", 15)]


def test_many_unranked_arms_are_one_sentence() -> None:
    methods = ("full", "lora", "dora", "pissa", "vera", "hira")
    tuned = synthetic_study(methods=methods, seeds=6)
    tuned = Study(tuned.ledger, tuned.stage("tune"))
    said = part(view_of(tuned), 1, "study").findings
    assert "6 arms are not ranked; the leaderboard says why." in said
    assert not any("is not ranked:" in each for each in said)


def test_the_headline_shows_all_arms_against_the_first_reference(study: Study) -> None:
    spec = headline_spec(view_of(study))
    assert spec is not None
    drawn = {row["arm"]: row for row in spec["datasets"]["full numbers"]}
    assert len(drawn) == len(study.ledger.arms) - 1
    assert drawn["lora r8"]["numbers"].startswith("+")
    assert "Held against full" in spec["title"]["text"][0]
    assert spec["vconcat"][0]["width"] < 700  # so that its letters are legible at 900 pixels


@pytest.mark.slow
def test_papers_get_their_figures_as_pdf() -> None:
    image = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><path d="M0 0H9"/></svg>'
    files = {"figures/study-1-costs.svg": image, "figures/section-1-rank.svg": image}
    made = pdfs(files)
    assert set(made) == {"figures/study-1-costs.pdf"}
    assert made["figures/study-1-costs.pdf"].startswith(b"%PDF")


def test_finals_count_whatever_the_tuning_left(small: Study) -> None:
    lost = Study(small.ledger, small.runs.filter(small.runs["stage"] == FINAL))
    assert missing(lost) == [
        "Not finished: there are 0 of 45 tuning runs.",
        "Not finished: there are 0 of 1 finals trained twice, for the noise floor.",
    ]
