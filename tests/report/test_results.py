"""The results that are committed are those of their compact tables."""

from pathlib import Path

import pytest

from lowrank_bench.protocol.study import Study
from lowrank_bench.protocol.tables import tables
from lowrank_bench.protocol.verdicts import verdicts

RESULTS = sorted((Path(__file__).parents[2] / "docs" / "results").glob("*/study"))


@pytest.mark.parametrize("folder", RESULTS, ids=lambda folder: folder.parent.name)
def test_its_tables_follow_from_its_runs(folder: Path) -> None:
    for name, frame in tables(Study.read(folder)).items():
        assert (folder / f"{name}.csv").read_text() == frame.write_csv(), name


@pytest.mark.parametrize("folder", RESULTS, ids=lambda folder: folder.parent.name)
def test_every_arm_had_the_same_budget_and_its_page_says_the_verdicts(folder: Path) -> None:
    study = Study.read(folder)
    assert {len(arm.trials) for arm in study.ledger.arms} == {study.ledger.rules.trials}
    page = (folder.parent / "index.html").read_text(encoding="utf-8")
    assert verdicts(study)[0].replace(" %", "\u00a0%") in page


def test_there_are_results() -> None:
    assert {folder.parent.name for folder in RESULTS} >= {"fair_fashion_mnist", "fair_transfer"}
