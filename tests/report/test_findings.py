from pathlib import Path

from synthetic_records import Write

from lowrank_bench.report import findings
from lowrank_bench.report.label import with_labels
from lowrank_bench.report.load import gather
from lowrank_bench.report.section import Section, sections


def only_section(root: Path) -> Section:
    [section] = sections(with_labels(gather([root])))
    return section


def test_the_headline_names_the_leader_and_what_has_no_rank(
    write_run: Write, tmp_path: Path
) -> None:
    write_run(accuracy=0.845)
    write_run(method="lowrank", rank=32, accuracy=0.861)
    write_run(method="lowrank", rank=4, accuracy=0.757)
    assert findings.headline(only_section(tmp_path)) == (
        "lowrank r32 leads at 86.1 % test accuracy after 2 epochs; "
        "full reaches 84.5 % (one seed each)"
    )


def test_means_closer_than_the_spread_are_called_that(write_run: Write, tmp_path: Path) -> None:
    for seed, accuracy in enumerate((0.80, 0.82, 0.84)):
        write_run(seed=seed, accuracy=accuracy)
        write_run(method="lowrank", rank=32, seed=seed, accuracy=accuracy + 0.01)
    assert findings.headline(only_section(tmp_path)) == (
        "lowrank r32 (83.0 %) and full (82.0 %) are within one SD in test accuracy "
        "after 2 epochs (3 seeds each)"
    )


def test_curves_say_when_the_leader_passes_the_other(write_run: Write, tmp_path: Path) -> None:
    write_run(accuracy=0.8, curve=[0.1, 0.5, 0.7, 0.8])
    write_run(method="lowrank", rank=8, accuracy=0.9, curve=[0.1, 0.7, 0.85, 0.9])
    expected = "lowrank r8 reaches full's last 80.0 % at epoch 2 of 3 (one seed each)"
    assert findings.over_epochs(only_section(tmp_path)) == expected


def test_parameters_name_the_smallest_that_is_as_good(write_run: Write, tmp_path: Path) -> None:
    write_run(accuracy=0.8, trainable=1000)
    for rank, accuracy, trainable in ((1, 0.7, 10), (2, 0.81, 20), (4, 0.9, 40)):
        write_run(method="lowrank", rank=rank, accuracy=accuracy, trainable=trainable)
    assert findings.over_parameters(only_section(tmp_path)) == (
        "lowrank r2 reaches 81.0 % (full: 80.0 %) with 2 % of the trainable parameters "
        "(one seed each)"
    )


def test_rank_names_the_method_that_depends_most_on_it(write_run: Write, tmp_path: Path) -> None:
    for method, first in (("ae", 0.7), ("lowrank", 0.6)):
        write_run(method=method, rank=1, accuracy=first)
        write_run(method=method, rank=8, accuracy=0.8)
    expected = "lowrank depends most on its rank: 60.0 % at r1, 80.0 % at r8 (one seed each)"
    assert findings.over_rank(only_section(tmp_path)) == expected


def test_what_was_not_averaged_is_said(write_run: Write, tmp_path: Path) -> None:
    write_run(seed=0)
    write_run(seed=1, status="diverged", accuracy=None)
    expected = "Not averaged: full (1 of 2 diverged)."
    assert findings.left_out(only_section(tmp_path)) == expected
