"""What the report says of forgetting and change."""

from pathlib import Path

import polars as pl
import pytest
from synthetic_records import Write, changed

from lowrank_bench.report import findings, frames
from lowrank_bench.report.adaptation import COLUMNS, frontier
from lowrank_bench.report.adaptation import changed as known
from lowrank_bench.report.label import with_labels
from lowrank_bench.report.load import gather
from lowrank_bench.report.metric import CANDIDATES, OF_SOURCE
from lowrank_bench.report.section import Section, sections

ACCURACY, LOSS = CANDIDATES[0], CANDIDATES[2]


def only_section(root: Path) -> Section:
    [section] = sections(with_labels(gather([root])))
    return section


def test_forgetting_is_what_each_run_lost_on_the_source(write_run: Write, tmp_path: Path) -> None:
    for seed, (before, after) in enumerate(((0.96, 0.90), (0.98, 0.84))):
        write_run(seed=seed, source=(before, after))
    write_run(seed=2, source=(0.9, 0.1), status="diverged")  # in no mean
    row = only_section(tmp_path).table.row(0, named=True)
    assert row["source_before"] == pytest.approx(0.97)
    assert row["source_mean"] == pytest.approx(0.87)
    assert (row["source_low"], row["source_high"]) == (0.84, 0.90)
    assert row["forgetting_mean"] == pytest.approx(0.1)
    assert row["forgetting_sd"] == pytest.approx(0.08 / 2**0.5)


def test_a_loss_that_rises_is_forgetting(write_run: Write, tmp_path: Path) -> None:
    write_run(language=2.5, source=(0.4, 0.3))  # 3.5 before
    row = only_section(tmp_path).table.row(0, named=True)
    assert row["forgetting_mean"] == pytest.approx(-1)


def test_a_change_is_averaged_over_seeds(write_run: Write, tmp_path: Path) -> None:
    for seed, components in enumerate((4.0, 8.0)):
        write_run(seed=seed, change=changed(components, target=0.5 + seed / 4))
    row = only_section(tmp_path).table.row(0, named=True)
    assert row["change_components_90"] == 6
    assert (row["change_components_90_low"], row["change_components_90_high"]) == (4, 8)
    assert row["change_cka_target"] == pytest.approx(0.625)
    assert row["source_mean"] is None


def test_runs_without_a_base_have_nothing_to_tell(write_run: Write, tmp_path: Path) -> None:
    write_run()
    section = only_section(tmp_path)
    assert section.source_metric is None
    assert section.table.select(COLUMNS).null_count().sum_horizontal()[0] == len(COLUMNS)
    assert known(section.table).is_empty()
    assert "source_mean" in section.exported.columns


@pytest.mark.parametrize("sign", [1, -1])
def test_the_frontier_is_what_nothing_beats_in_both(sign: int) -> None:
    rows = pl.DataFrame(
        {
            "name": ["both", "learns", "keeps", "worse", "twin"],
            "mean": [sign * x for x in (0.8, 0.9, 0.5, 0.7, 0.8)],
            "source_mean": [0.7, 0.4, 0.9, 0.7, 0.7],
        }
    )
    found = frontier(rows, ACCURACY if sign > 0 else LOSS, OF_SOURCE[0])["name"].to_list()
    assert set(found) == {"both", "twin", "learns", "keeps"}
    assert found[0] == ("keeps" if sign > 0 else "learns")  # from left to right


def test_the_finding_names_both_ends(write_run: Write, tmp_path: Path) -> None:
    write_run(accuracy=0.95, source=(0.97, 0.5))
    write_run(method="lora", rank=2, accuracy=0.9, source=(0.97, 0.93))
    write_run(method="lora", rank=8, accuracy=0.92, source=(0.97, 0.8))
    assert findings.over_forgetting(only_section(tmp_path)) == (
        "full learns most (95.0 %) and forgets 47.0 points on the source; lora r2 forgets 4.0 "
        "points on the source at 90.0 % (one seed each)"
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ((0.5, 0.6), "it improves on the source by 10.0 points"),
        ((0.5, 0.5), "it forgets nothing of the source"),
        ((None, 0.5), "it keeps 50.0 % on the source"),
    ],
)
def test_the_finding_of_a_single_best_says_what_it_did(
    write_run: Write, tmp_path: Path, source: tuple[float | None, float], said: str
) -> None:
    write_run(accuracy=0.95, source=source)
    assert findings.over_forgetting(only_section(tmp_path)) == (
        f"full learns most (95.0 %) and is best on the source too: {said} (one seed)"
    )


def test_the_finding_on_directions_names_most_and_fewest(write_run: Write, tmp_path: Path) -> None:
    write_run(change=changed(45.25))
    write_run(method="lora", rank=2, change=changed(1.5))
    write_run(method="bitfit")
    assert findings.over_directions(only_section(tmp_path)) == (
        "full needs 45.2 components for 90 % of the squared spectrum of ΔW, lora r2 1.5 "
        "(one seed each)"
    )


def test_frames_hold_all_that_the_records_do(write_run: Write, tmp_path: Path) -> None:
    write_run(source=(0.9, 0.8), change=changed(4.0))
    write_run(method="lora", rank=2)
    found = frames(tmp_path)
    row = found.runs.filter(label="full").row(0, named=True)
    assert row["selected_source_accuracy"] == 0.8
    assert (row["change_cka_source"], row["change_seconds"]) == (0.8, 0.25)
    assert found.layers.select("label", "layer", "components_90", "full_rank").rows() == [
        ("full", "hidden.0", 4, 64),
        ("full", "head", 4, 64),
    ]
    assert set(found.curves["label"]) == {"full", "lora r2"}


def test_bases_are_no_runs_of_a_report(write_run: Write, tmp_path: Path) -> None:
    folder = write_run()
    hidden = tmp_path / "runs" / ".bases"
    hidden.mkdir()
    (write_run(method="base")).rename(hidden / "base")
    assert [Path(path).parent for path in gather([tmp_path]).runs["path"]] == [folder]
