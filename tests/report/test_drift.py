"""Two sets of records of the same runs: what moved, and what drifted."""

import pytest
from synthetic_records import write

from lowrank_bench.report.drift import Drift, drift
from lowrank_bench.report.drift_part import drift_part, findings


def sets(tmp_path, moves: dict[str, float], *, wobble: float = 0.0, seeds: int = 8):
    """The same runs in two folders, of which the second's accuracies differ by method."""
    for folder, sign in (("before", 0.0), ("after", 1.0)):
        for method, move in moves.items():
            for seed in range(seeds):
                chance = wobble * (-1) ** seed
                accuracy = 0.8 + 0.001 * seed + sign * (move + chance)
                write(tmp_path / folder, method=method, seed=seed, accuracy=accuracy)
    return [tmp_path / "before", tmp_path / "after"]


def found(paths) -> Drift:
    result = drift(paths)
    assert result is not None
    return result


def test_equal_sets_are_said_to_be_equal_to_the_last_bit(tmp_path) -> None:
    result = found(sets(tmp_path, {"full": 0.0, "lora": 0.0}))
    assert not result.methods["drifted"].any()
    assert findings(result)[0] == (
        "Nothing moved: test accuracy is the same to the last bit in all 16 pairs"
    )


def test_a_method_whose_runs_all_fell_has_drifted_and_the_other_has_not(tmp_path) -> None:
    result = found(sets(tmp_path, {"full": 0.0, "lora": -0.02}))
    drifted = dict(result.methods.select("method_label", "drifted").rows())
    assert drifted == {"full": False, "lora": True}
    assert findings(result)[0] == (
        "1 of 2 methods drifted in test accuracy: lora by −2.0 points (8 pairs)"
    )


def test_runs_that_move_to_and_fro_have_moved_and_no_method_drifted(tmp_path) -> None:
    result = found(sets(tmp_path, {"full": 0.0}, wobble=0.01))
    assert not result.methods["drifted"].any()
    assert findings(result)[0].startswith("No method drifted in test accuracy; 8 of 8 pairs moved")


def test_what_identical_runs_differ_by_is_no_move(tmp_path) -> None:
    paths = sets(tmp_path, {"full": 0.004})
    write(paths[0] / ".duplicates", method="full", seed=0, accuracy=0.805)
    result = found(paths)
    assert result.noise == pytest.approx(0.005)
    assert result.table["moved"].sum() == 0
    assert not result.methods["drifted"].any()  # though all eight rose


def test_a_loss_that_falls_is_better(tmp_path) -> None:
    for folder, loss in (("before", 2.0), ("after", 1.9)):
        for seed in range(6):
            write(tmp_path / folder, seed=seed, accuracy=None, language=loss + 0.01 * seed)
    result = found([tmp_path / "before", tmp_path / "after"])
    assert result.methods["difference"][0] == pytest.approx(0.1)


def test_runs_of_one_set_alone_and_changed_ends_are_told(tmp_path) -> None:
    paths = sets(tmp_path, {"full": 0.0})
    write(paths[0], method="dora", seed=0)
    write(paths[1], method="vera", seed=0)
    write(paths[0], method="ae", seed=0, accuracy=0.7)
    write(paths[1], method="ae", seed=0, accuracy=None, status="diverged")
    part = drift_part(found(paths), 1)
    assert "Runs in one set alone: 1 and 1." in part.findings
    assert part.warnings == ["ae seed 0: finished, then diverged"]


def test_unlike_folders_or_another_number_of_them_have_no_drift(tmp_path) -> None:
    write(tmp_path / "a", method="full")
    write(tmp_path / "b", method="lora")
    assert drift([tmp_path / "a", tmp_path / "b"]) is None
    assert drift([tmp_path / "a"]) is None


def test_the_part_has_a_figure_and_tables_of_methods_and_configurations(tmp_path) -> None:
    part = drift_part(found(sets(tmp_path, {"full": 0.0, "lora": -0.02})), 3)
    assert [figure.name for figure in part.figures] == ["drift"]
    methods, configurations, *_ = part.tables
    assert [row["bad"] for row in methods.rows] == [True, False]
    assert len(configurations.rows) == 2
    assert b"lora" in part.files["drift.csv"]
