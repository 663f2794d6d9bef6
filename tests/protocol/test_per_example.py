from pathlib import Path

import numpy as np
import polars as pl
import pytest
from synthetic_study import synthetic_study

from lowrank_bench.predictions import FILE
from lowrank_bench.protocol.per_example import per_example
from lowrank_bench.protocol.study import Study

NUM = 1000


def kept(folder: Path, study: Study, arms: dict[str, float], *, relative: bool = False) -> Study:
    """`arms` {name: share of examples that it gets right}, the same examples for each seed."""
    paths = {}
    for arm, share in arms.items():
        for seed in study.ledger.rules.fresh_seeds:
            run = folder / f"{arm} {seed}".replace(" ", "-")
            run.mkdir()
            correct = np.arange(NUM) < share * NUM
            bits = {"bits_correct": np.packbits(correct), "num_examples": np.asarray(NUM)}
            np.savez(run / FILE, **bits, loss=1.0 - correct.astype(np.float16) / 2)
            record = run / "record.json"
            paths[arm, seed] = str(record.relative_to(folder) if relative else record)
    rows = [
        paths.get((row["arm"], row["seed"])) if row["stage"] == "final" else None
        for row in study.runs.select("arm", "seed", "stage").to_dicts()
    ]
    return Study(study.ledger, study.runs.with_columns(path=pl.Series(rows, dtype=pl.String)))


def test_a_row_counts_who_alone_is_right(tmp_path: Path) -> None:
    study = kept(tmp_path, synthetic_study(), {"full": 0.8, "lora r8": 0.83})
    table = per_example(study)
    assert table.height == 1  # dora kept none
    row = table.row(0, named=True)
    assert (row["reference"], row["arm"]) == ("full", "lora r8")
    assert (row["seeds"], row["examples"]) == (9, NUM)
    assert row["mean_diff"] == pytest.approx(0.03)
    # 30 of 1000 differ by one
    half = 1.96 * np.sqrt(0.03 * 0.97 / NUM)
    assert (row["low"], row["high"]) == pytest.approx((0.03 - half, 0.03 + half), abs=1e-4)
    assert (row["only_arm"], row["only_reference"]) == (9 * 30, 0)
    assert row["mcnemar_p_median"] == pytest.approx(2 / 2**30)


def test_equal_answers_differ_nowhere(tmp_path: Path) -> None:
    row = per_example(kept(tmp_path, synthetic_study(), {"full": 0.8, "lora r8": 0.8})).row(
        0, named=True
    )
    assert (row["mean_diff"], row["low"], row["high"]) == (0, 0, 0)
    assert (row["only_arm"], row["only_reference"], row["mcnemar_p_median"]) == (0, 0, 1.0)


def test_of_a_loss_less_is_better_and_nothing_is_right_or_wrong(tmp_path: Path) -> None:
    study = synthetic_study(metric="loss")
    row = per_example(kept(tmp_path, study, {"full": 0.8, "lora r8": 0.83})).row(0, named=True)
    assert row["mean_diff"] == pytest.approx(0.015)
    assert row["only_arm"] is row["mcnemar_p_median"] is None


def test_paths_may_be_relative_to_a_folder(tmp_path: Path) -> None:
    study = kept(tmp_path, synthetic_study(), {"full": 0.8, "dora r8": 0.7}, relative=True)
    assert per_example(study).is_empty()
    assert per_example(study, tmp_path)["mean_diff"].to_list() == pytest.approx([-0.1])


def test_a_seed_that_only_one_of_the_two_kept_is_left_out(tmp_path: Path) -> None:
    study = kept(tmp_path, synthetic_study(), {"full": 0.8, "lora r8": 0.83})
    (tmp_path / "full-101" / FILE).unlink()
    (tmp_path / "lora-r8-102" / FILE).write_bytes(b"no archive")
    assert per_example(study)["seeds"].to_list() == [7]


def test_without_predictions_there_is_an_empty_table() -> None:
    table = per_example(synthetic_study())
    assert table.is_empty() and "mcnemar_p_median" in table.columns
