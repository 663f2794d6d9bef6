from pathlib import Path

from synthetic_records import Write

from lowrank_bench.report.label import method_label, with_labels
from lowrank_bench.report.load import gather


def labels(root: Path) -> list[str]:
    return sorted(with_labels(gather([root])).runs["label"].to_list())


def test_a_label_names_what_of_the_method_was_overridden() -> None:
    overrides = ["rank=4", "method/init=product_variance", "+method.optimizer.momentum=0.9"]
    expected = "full (init=product_variance, optimizer.momentum=0.9)"
    assert method_label("full", overrides) == expected
    assert method_label("full", ["method=full", "seed=1"]) == "full"


def test_inits_of_one_method_are_told_apart(write_run: Write, tmp_path: Path) -> None:
    write_run(method="lowrank", rank=4)
    write_run(method="lowrank", rank=4, overrides=["method/init=product_variance"])
    assert labels(tmp_path) == ["lowrank (init=product_variance) r4", "lowrank r4"]


def test_configurations_that_would_share_a_label_show_their_hash(
    write_run: Write, tmp_path: Path
) -> None:
    write_run(method_hash="abcdef111")
    write_run(method_hash="fedcba222")
    assert labels(tmp_path) == ["full #abcdef", "full #fedcba"]


def test_hashes_that_begin_alike_are_shown_longer(write_run: Write, tmp_path: Path) -> None:
    write_run(method_hash="abcdef111")
    write_run(method_hash="abcdef222")
    assert len(set(labels(tmp_path))) == 2


def test_learning_rates_are_named_only_where_there_are_several(
    write_run: Write, tmp_path: Path
) -> None:
    write_run(lr=0.1)
    write_run(lr=0.01)
    write_run(method="ae", rank=2, lr=0.1)
    assert labels(tmp_path) == ["ae r2", "full lr 0.01", "full lr 0.1"]


def test_one_configuration_in_two_spellings_has_one_label(write_run: Write, tmp_path: Path) -> None:
    write_run(method="ae", rank=2, seed=0, method_hash="same")
    overrides = ["method/init=torch_default"]
    write_run(method="lowrank", rank=2, seed=1, method_hash="same", overrides=overrides)
    assert labels(tmp_path) == ["ae r2", "ae r2"]


def test_one_method_under_two_controls_keeps_its_plain_label(
    write_run: Write, tmp_path: Path
) -> None:
    write_run(control_hash="aa", method_hash="one")
    write_run(control_hash="bb", method_hash="two")
    assert labels(tmp_path) == ["full", "full"]
