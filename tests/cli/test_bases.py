"""A base is trained once, whoever needs it, and whatever becomes of those who train it."""

import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from left_behind import contents, records, wait_until

from lowrank_bench.record import find
from tests.cli.conftest import STRIKES

pytestmark = pytest.mark.slow

SMALL = ("pair=digits_halves", "model.hidden=[32,32]", "epochs=2", "base.epochs=3", "logger=local")
PAUSED = ("--config-dir", str(STRIKES), "+base.method.hooks.pause._target_=pausing.Pause")
SECOND_EPOCH = 15  # an update in the middle of one; an epoch of the base has 10
ONCE = "trained once for all"


@pytest.fixture
def runs(here):
    return here / "runs"


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def base_of(runs: Path) -> Path:
    """The folder of the one base there."""
    (folder,) = (path.parent for path in (runs / ".bases").glob("*/record.json"))
    return folder


def same(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def free(runs: Path) -> bool:
    """Whether every lock can be had."""
    locks = [*runs.rglob("*.lock")]
    for path in locks:
        with FileLock(path, timeout=0):
            pass
    return bool(locks)


def test_two_processes_at_a_sweep_of_twelve_train_the_base_once(start, runs):
    line = ("-m", *SMALL, "method=full,lora,galore,adalora", "seed=0,1,2")
    ends = [command.wait() for command in (start(*line), start(*line))]
    assert [(end.code, end.err) for end in ends] == [(0, "")] * 2
    said = ends[0].out + ends[1].out
    assert said.count(ONCE) == 1
    made = records(runs)
    assert [record["status"] for record in made] == ["finished"] * 12
    assert len({record["fingerprint"] for record in made}) == 12
    assert Counter(record["name"]["method"] for record in made) == {
        "full": 3,
        "lora": 3,
        "galore": 3,
        "adalora": 3,
    }
    assert free(runs)

    base = json.loads((base_of(runs) / "record.json").read_text())
    assert (base_of(runs) / "metrics.jsonl").read_text().count('"epoch": 0') == 1
    assert {record["base"]["fingerprint"] for record in made} == {base["fingerprint"]}
    assert len({record["base"]["weights_checksum"] for record in made}) == 1
    assert len({record["control_hash"] for record in made}) == 1
    known = base["metrics"]["selected"]
    assert known["test_accuracy"] > 0.3
    for record in made:
        before = record["metrics"]["before"]
        assert before["source_accuracy"] == known["test_accuracy"]
        assert before["source_loss"] == known["test_loss"]
        assert record["metrics"]["final"]["source_accuracy"] is not None
    assert len([*find(runs)]) == 12  # what a report reads: the base is none of them


def test_a_killed_process_leaves_the_base_to_the_one_that_waits(start, bench, env, here, runs):
    line = ("-m", *PAUSED, *SMALL, "method=full,lora")
    env.update(PAUSE_AT=str(SECOND_EPOCH), EAGER_CHECKPOINTS="1")
    first = start(*line)
    wait_until(lambda: (here / "paused-0").exists(), 300, "the base pauses")
    second = start(*line)
    first.send(signal.SIGKILL)
    assert first.wait(10).code == -signal.SIGKILL
    end = second.wait()
    assert (end.code, end.err) == (0, "")
    assert end.out.count(ONCE) == 1
    assert [record["status"] for record in records(runs)] == ["finished"] * 2
    assert free(runs)
    assert bench(*line, "run.dir=reference").code == 0
    same(base_of(runs) / "last.ckpt", base_of(here / "reference") / "last.ckpt")
    for ended, reference in zip(records(runs), records(here / "reference"), strict=True):
        assert ended["metrics"] == reference["metrics"]


def test_ctrl_c_while_the_base_trains_goes_on_from_there(start, bench, env, here, runs, alive):
    line = (*PAUSED, *SMALL, "method=lora")
    env.update(PAUSE_AT=str(SECOND_EPOCH), EAGER_CHECKPOINTS="1")
    command = start(*line)
    wait_until(lambda: (here / "paused-0").exists(), 300, "the base pauses")
    command.send(signal.SIGINT)
    end = command.wait(120)
    assert end.code == 130
    assert end.err.splitlines()[-1].startswith("lowrank-bench: interrupted; the same command")
    assert "Traceback" not in end.out + end.err
    assert not alive()
    base = json.loads((base_of(runs) / "record.json").read_text())
    assert base["status"] == "interrupted"
    assert weights(base_of(runs) / "last.ckpt")
    outcome = bench(*line)
    assert (outcome.code, outcome.err) == (0, "")
    assert bench(*line, "run.dir=reference").code == 0
    same(base_of(runs) / "last.ckpt", base_of(here / "reference") / "last.ckpt")


def test_a_base_that_diverges_fails_each_run_in_one_line_and_is_not_tried_again(bench, runs):
    line = ("-m", *SMALL, "method=full,lora", "seed=0,1", "base.lr=1e30")
    outcome = bench(*line)
    assert (outcome.code, outcome.err) == (1, "")
    assert outcome.out.splitlines()[-1] == "4 of 4 runs: 4 failed"
    assert outcome.out.count(ONCE) == 1
    assert "Traceback" not in outcome.out
    folder = base_of(runs)
    before = contents(runs / ".bases")
    said = [line for line in outcome.out.splitlines() if "BaseFailed: " in line]
    assert len(said) == 4
    for record in records(runs):
        assert record["status"] == "failed"
        assert record["error"]["type"] == "BaseFailed"
        told = record["error"]["message"]
        assert told.startswith("the base on digits diverged: the training loss became ")
        assert "\n" not in told
        assert str(folder.name) in told
    again = bench(*line)
    assert (again.code, again.out.count(ONCE)) == (1, 0)
    assert contents(runs / ".bases") == before


def test_a_base_that_is_killed_fails_its_runs_and_is_tried_again_by_the_next_command(
    bench, env, runs
):
    die = ("--config-dir", str(STRIKES), "+base.method.hooks.die._target_=dying.Die")
    line = ("-m", *die, *SMALL, "method=full,lora")
    env["DIE_AT"] = str(SECOND_EPOCH)
    outcome = bench(*line)
    assert (outcome.code, outcome.err) == (1, "")
    assert outcome.out.splitlines()[-1] == "2 of 2 runs: 2 failed"
    assert outcome.out.count(ONCE) == 1  # once in a session
    (one, other) = records(runs)
    assert one["error"] == other["error"]
    assert "the base on digits failed: the process was ended by signal 9" in one["error"]["message"]
    del env["DIE_AT"]
    assert bench(*line).out.splitlines()[-1] == "2 of 2 runs: 2 finished"


@pytest.mark.parametrize("damage", ["gone", "torn", "altered"])
def test_a_base_whose_checkpoint_is_damaged_is_trained_again(bench, runs, damage):
    bench(*SMALL, "method=lora")
    path = base_of(runs) / "last.ckpt"
    kept, content = weights(path), path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "torn":
        path.write_bytes(content[: len(content) // 2])
    else:
        place = content.find(kept["model.hidden.1.weight"].numpy().tobytes()[:64])
        assert place > 0
        path.write_bytes(content[:place] + b"\0" * 8 + content[place + 8 :])
    outcome = bench(*SMALL, "method=lora", "seed=1")
    assert (outcome.code, outcome.err) == (0, "")
    assert "the base on digits: its checkpoint is gone or torn; trained afresh" in outcome.out
    again = weights(path)
    assert all(torch.equal(again[name], kept[name]) for name in kept)
    assert len({record["base"]["weights_checksum"] for record in records(runs)}) == 1


def test_a_base_made_by_other_versions_is_trained_again(bench, runs):
    bench(*SMALL, "method=lora")
    path = base_of(runs) / "record.json"
    record = json.loads(path.read_text())
    record["env"]["versions"]["torch"] = "0.4"
    path.write_text(json.dumps(record))
    outcome = bench(*SMALL, "method=lora", "seed=1")
    assert (outcome.code, outcome.err) == (0, "")
    assert "trained afresh, since its record was made by torch 0.4" in outcome.out
    assert json.loads(path.read_text())["env"]["versions"]["torch"] != "0.4"


def test_the_checkpoint_of_a_base_is_the_one_that_its_budget_selects(bench, runs):
    best = ("base.budget.selection=best_val_loss", "base.lr=0.3", "base.epochs=8")
    assert bench(*SMALL, *best, "method=head").code == 0
    base = json.loads((base_of(runs) / "record.json").read_text())
    assert base["metrics"]["selected"]["epoch"] < 8  # at such a rate it gets worse
    (record,) = records(runs)
    known = base["metrics"]["selected"]["test_accuracy"]
    assert record["metrics"]["before"]["source_accuracy"] == known


def test_runs_on_a_base_that_are_killed_end_bit_for_bit_like_ones_that_are_not(bench, env, here):
    line = (
        *("-m", "--config-dir", str(STRIKES), *SMALL, "method=lora,adalora,galore", "epochs=3"),
        *("+method.hooks.die._target_=dying.Die", "run.accumulate=2", "budget.clip_norm=0.5"),
        *("budget.updates_per_epoch=7", "method.optimizer.lr=0.01"),
    )
    env.update(EAGER_CHECKPOINTS="1", DIE_AT="10")
    assert bench(*line).out.splitlines()[-1] == "3 of 3 runs: 3 failed"
    for path in (here / "runs").glob("*/last.ckpt"):
        assert torch.load(path, weights_only=True)["global_step"] == 7
    del env["DIE_AT"]
    assert bench(*line).code == 0
    assert bench(*line, "run.dir=reference").code == 0
    finished = sorted((here / "reference").glob("*/last.ckpt"))
    assert len(finished) == 3
    for path in finished:
        same(here / "runs" / path.parent.name / path.name, path)
    for ended, reference in zip(records(here / "runs"), records(here / "reference"), strict=True):
        assert ended["metrics"] == reference["metrics"]
        assert ended["receipts"] == reference["receipts"]
        assert ended["metrics"]["final"]["source_loss"] is not None


def test_two_devices_on_a_base_give_the_metrics_of_one(bench, here, alive):
    """Batches of five in three parts: one device has three examples, the other two."""
    line = (*SMALL, "method=lora", "base.method.optimizer.lr=0.01", "budget.batch_size=5")
    line = (*line, "budget.updates_per_epoch=12", "run.accumulate=3", "budget.clip_norm=1")
    outcome = bench(*line, "run.devices=2", "run.dir=two")
    assert outcome.code == 0, outcome
    assert not alive()
    assert bench(*line, "run.dir=one", "run.accumulate=1").code == 0
    (two,), (one,) = records(here / "two"), records(here / "one")
    assert two["status"] == one["status"] == "finished"
    assert two["fingerprint"] == one["fingerprint"]
    for section in ("before", "final"):
        for name, value in one["metrics"][section].items():
            expected = value if value is None else pytest.approx(value, abs=1e-4)
            assert two["metrics"][section][name] == expected, (section, name)
    assert one["metrics"]["before"]["source_accuracy"] > 0.5


def test_no_process_outlives_a_command_that_waits_for_a_base(start, env, here, alive):
    env.update(PAUSE_AT=str(SECOND_EPOCH))
    line = (*PAUSED, *SMALL, "method=lora")
    first = start(*line)
    wait_until(lambda: (here / "paused-0").exists(), 300, "the base pauses")
    second = start(*line, "seed=1")
    wait_until(lambda: len(list((here / "runs" / ".locks").iterdir())) == 2, 300, "another waits")
    second.send(signal.SIGINT)
    assert second.wait(60).code == 130
    first.send(signal.SIGINT)
    assert first.wait(60).code == 130
    assert not alive()
    assert os.listdir(here / "runs" / ".bases")
