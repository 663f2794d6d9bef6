"""A study from the command line: its protocol, its end after any interruption, its growth."""

import json
import random
import signal
import time
from pathlib import Path

import pytest
from left_behind import contents, records

from lowrank_bench.predictions import FILE as PREDICTIONS
from lowrank_bench.protocol.ledger import DUPLICATES, Ledger
from lowrank_bench.protocol.study import Study
from lowrank_bench.protocol.tables import tables
from lowrank_bench.report.label import with_labels
from lowrank_bench.report.load import gather

pytestmark = pytest.mark.slow

LINE = (
    *("study=fair", "data=digits", "epochs=1", "model.hidden=[16]", "run.keep_checkpoint=false"),
    *("study.trials=3", "study.first=2", "study.per_decade=1", "study.tuning_seeds=[1,2]"),
    *("run.dir=runs", "study.fresh_seeds=2", "study.duplicates=1", "study.report=false", "rank=2"),
)
METHODS = "method=full,lora"
RUNS = 2 * 3 * 2 + 2 * 2  # arms x trials x tuning seeds, arms x fresh seeds


def study_of(root: Path) -> Study:
    read, again = (with_labels(gather([folder])) for folder in (root, root / DUPLICATES))
    return Study.of(Ledger.read(root), read.runs, again.runs)


def tables_of(root: Path) -> dict[str, str]:
    return {name: frame.write_csv() for name, frame in tables(study_of(root)).items()}


def test_every_arm_spends_the_same_budget_and_test_data_are_touched_once_at_the_end(bench, here):
    outcome = bench(*LINE, METHODS)
    assert (outcome.code, outcome.err) == (0, "")
    said = outcome.out.splitlines()
    assert said[0].startswith("study fair: 2 arms; 3 trials on 2 seeds each, 12 runs")
    assert "2 fresh seeds cannot show that any of 1 differences is real" in said[1]
    study = study_of(here / "runs")
    assert [len(arm.trials) for arm in study.ledger.arms] == [3, 3]
    assert study.stage("tune").height == 12
    assert study.stage("tune")["selected_test_accuracy"].null_count() == 12
    assert study.stage("final").height == 4
    assert study.stage("final")["selected_test_accuracy"].null_count() == 0
    assert set(study.stage("final")["seed"]) == {101, 102}
    assert study.stage("duplicate").height == 1
    tested = {path.parent.name for path in (here / "runs").glob(f"*/{PREDICTIONS}")}
    assert len(tested) == 4
    assert not [*(here / "runs").glob("*/*.ckpt")]


def test_a_study_killed_anywhere_and_started_again_gives_the_same_tables_byte_for_byte(
    bench, start, here, alive
):
    assert bench(*LINE, METHODS, "run.dir=whole").code == 0
    chance = random.Random(7)
    killed = 0
    for _ in range(12):
        command = start(*LINE, METHODS, "run.dir=killed")
        deadline = time.monotonic() + chance.uniform(1.0, 8.0)
        while command.is_running() and time.monotonic() < deadline:
            time.sleep(0.02)
        if not command.is_running():
            assert command.wait().code == 0
            break
        command.send(signal.SIGKILL)
        command.wait()
        killed += 1
        left = here / "killed"
        for path in left.glob("*/record.json"):
            json.loads(path.read_text())  # whole, or not there
        if (left / "study.json").exists():
            Ledger.read(left)
    assert bench(*LINE, METHODS, "run.dir=killed").code == 0
    assert killed >= 3
    assert (here / "killed/study.json").read_bytes() == (here / "whole/study.json").read_bytes()
    assert tables_of(here / "killed") == tables_of(here / "whole")


def test_a_study_that_grows_trains_nothing_again(bench, here):
    assert bench(*LINE, METHODS).code == 0
    before = contents(here / "runs")
    outcome = bench(*LINE, "method=full,lora,lowrank", "study.trials=4", "study.fresh_seeds=3")
    assert (outcome.code, outcome.err) == (0, "")
    after = contents(here / "runs")
    assert {name: after[name] for name in before} == before
    ledger = Ledger.read(here / "runs")
    assert [len(arm.trials) for arm in ledger.arms] == [4, 4, 4]
    assert [len(arm.runs) for arm in ledger.arms] == [3, 3, 3]
    again = bench(*LINE, "method=full,lora,lowrank", "study.trials=4", "study.fresh_seeds=3")
    assert again.out.splitlines()[-1].endswith("reused")
    assert contents(here / "runs") == after


def test_two_processes_share_a_study(start, here):
    commands = [start(*LINE, METHODS) for _ in range(2)]
    outcomes = [command.wait() for command in commands]
    assert [outcome.code for outcome in outcomes] == [0, 0]
    made = records(here / "runs")
    assert len(made) == RUNS
    assert {record["status"] for record in made} == {"finished"}


def test_optuna_searches_within_the_same_budget_and_goes_on_where_it_was(bench, here):
    line = (*LINE, METHODS, "study.search=optuna")
    assert bench(*line).code == 0
    first = Ledger.read(here / "runs")
    assert [len(arm.trials) for arm in first.arms] == [3, 3]
    assert (here / "runs/optuna.log").exists()
    before = contents(here / "runs")
    assert bench(*line).code == 0
    assert contents(here / "runs") == before
    assert Ledger.read(here / "runs") == first


def test_a_method_that_diverges_everywhere_is_left_without_finals(bench, here):
    outcome = bench(
        *LINE, "method=full,lora", "study.centres.lora=1e30", "method.optimizer.eps=1e-30"
    )
    assert outcome.code == 0
    arms = {arm.method: arm for arm in Ledger.read(here / "runs").arms}
    assert arms["lora"].selected is None
    assert not arms["lora"].runs
    assert len(arms["full"].runs) == 2


def test_a_run_trained_without_its_test_data_is_asked_later(bench, here):
    line = ("method=lora", "data=digits", "epochs=1", "model.hidden=[16]")
    assert bench(*line, "run.test=false").code == 0
    (tuned,) = records(here / "runs")
    assert tuned["metrics"]["selected"]["test_accuracy"] is None
    outcome = bench(*line)
    assert "was trained without its test data; asked now" in outcome.out
    (tested,) = records(here / "runs")
    assert tested["metrics"]["selected"]["test_accuracy"] is not None
    assert tested["metrics"]["selected"]["val_loss"] == tuned["metrics"]["selected"]["val_loss"]
    assert bench(*line, "run.test=false").out.count("reused") == 1


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("lr=0.1",), "lr=0.1: a study chooses its own; say it by study.centres"),
        (("seed=1,2",), "a study chooses its own; say it by study.tuning_seeds"),
        (("epochs=1,2",), "epochs=1 epochs=2: a study has one control"),
        (
            ("method.optimizer.lr=0.01",),
            "trains the same with {'lr': 0.001} and with {'lr': 0.01}",
        ),
        (("data.val_size=0",), "data.val_size=0: a study tunes on validation data"),
        (("budget.test_every_epoch=true",), "budget.test_every_epoch=True: a study tests once"),
        (("study.trails=3",), "study.trails: there is no such key; did you mean 'study.trials'"),
        (("study=fiar",), "study=fiar: there is no such choice; did you mean 'fair'"),
        (("+study.knobs.lora={method.adapter.alhpa: [8]}",), "alhpa"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_written(bench, here, words, named):
    line = [
        word for word in LINE if word.partition("=")[0] not in {w.partition("=")[0] for w in words}
    ]
    first = ["study=fair"] if "study=fair" not in line else []
    outcome = bench(*first, *line, METHODS, *words)
    assert outcome.code == 2
    assert named in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (here / "runs").exists()


def test_a_folder_holds_one_study(bench, here):
    assert bench(*LINE, METHODS).code == 0
    before = contents(here / "runs")
    outcome = bench(*LINE, METHODS, "budget.batch_size=32")
    assert outcome.code == 2
    assert "run.dir=runs: study.json there is of a study with another control" in outcome.err
    assert contents(here / "runs") == before
