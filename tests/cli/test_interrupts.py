"""Whatever ends a command, no process is left and the same command goes on from there."""

import os
import signal
from pathlib import Path

import pytest
import torch
from command_server import Command
from left_behind import contents, records, wait_until

from tests.cli.conftest import STRIKES

pytestmark = pytest.mark.slow

LINE = (
    *("--config-dir", str(STRIKES), "method=lowrank", "method/hooks=pause", "rank=2"),
    *("data=digits", "epochs=3", "model.hidden=[32,32]", "budget.selection=best_val_accuracy"),
)
SWEEP = ("-m", *LINE, "seed=0,1,2")
SECOND_EPOCH, THIRD_EPOCH = 25, 45  # updates in the middle of one; an epoch has 20


@pytest.fixture
def paused(start, here, env):
    """Start a command and wait until a run of it stands still."""

    def begin(*words: str, at: int, behind: int = 0, ranks: int = 1) -> Command:
        env.update(PAUSE_AT=str(at), PAUSE_BEHIND=str(behind), EAGER_CHECKPOINTS="1")
        command = start(*words)
        wait_until(
            lambda: len(list(here.glob("paused-*"))) == ranks or not command.is_running(),
            seconds=300,
            what="the run pauses",
        )
        assert command.is_running(), command.wait()
        del env["PAUSE_AT"]
        return command

    return begin


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (path,) = folder.glob("*/last.ckpt")
    return torch.load(path, weights_only=True)["state_dict"]


def curve(folder: Path) -> list[tuple]:
    import polars

    (path,) = folder.glob("*/curves.parquet")
    return polars.read_parquet(path).drop("seconds").rows()


@pytest.mark.parametrize(
    ("number", "at"),
    [(signal.SIGINT, 5), (signal.SIGINT, SECOND_EPOCH), (signal.SIGTERM, THIRD_EPOCH)],
    ids=["SIGINT before the first checkpoint", "SIGINT after one", "SIGTERM after two"],
)
def test_an_interrupted_run_goes_on_to_the_same_weights(paused, bench, here, alive, number, at):
    command = paused(*LINE, at=at)
    command.send(number)
    end = command.wait(120)
    assert end.code == 130
    assert end.err.splitlines()[-1] == (
        "lowrank-bench: interrupted; the same command goes on from here"
    )
    assert "Traceback" not in end.err
    assert not alive()
    (record,) = records(here / "runs")
    assert record["status"] == "interrupted"
    assert list((here / "runs").glob("*/last.ckpt")) or at < 20

    assert bench(*LINE).code == 0
    (record,) = records(here / "runs")
    assert (record["status"], record["error"]) == ("finished", None)

    assert bench(*LINE, "run.dir=reference").code == 0
    resumed, reference = weights(here / "runs"), weights(here / "reference")
    assert resumed.keys() == reference.keys()
    assert all(torch.equal(resumed[name], reference[name]) for name in reference)
    assert curve(here / "runs") == curve(here / "reference")
    (expected,) = records(here / "reference")
    assert record["metrics"] == expected["metrics"]


def test_ctrl_c_ends_a_sweep_and_keeps_what_is_finished(paused, bench, here, alive):
    command = paused(*SWEEP, at=SECOND_EPOCH, behind=1)
    command.send(signal.SIGINT)
    end = command.wait(120)
    assert end.code == 130
    assert "Traceback" not in end.out + end.err
    assert not alive()
    before = contents(here / "runs")
    assert sorted(record["status"] for record in records(here / "runs")) == [
        "finished",
        "interrupted",
    ]
    outcome = bench(*SWEEP)
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1] == "3 of 3 runs: 2 finished, 1 reused"
    after = contents(here / "runs")
    assert len(after) == 3
    assert len([name for name in before if after[name] == before[name]]) == 1


def test_a_killed_command_takes_its_run_along_and_can_be_repeated(paused, bench, here, alive):
    command = paused(*SWEEP, at=SECOND_EPOCH, behind=1)
    before = contents(here / "runs")
    assert len(before) == 1
    assert len(alive()) == 2
    command.send(signal.SIGKILL)
    assert command.wait(10).code == -signal.SIGKILL
    wait_until(lambda: not alive(), seconds=10, what="the run ends with its parent")

    outcome = bench(*SWEEP)
    assert (outcome.code, outcome.err) == (0, "")
    after = contents(here / "runs")
    assert before.items() <= after.items()
    assert [record["status"] for record in records(here / "runs")] == ["finished"] * 3


def test_a_killed_run_is_recorded_and_the_sweep_goes_on(paused, bench, here, alive):
    command = paused(*SWEEP, at=SECOND_EPOCH)
    (child,) = alive() - {command.pid}
    os.kill(child, signal.SIGKILL)
    end = command.wait()
    assert (end.code, end.err) == (1, "")
    assert end.out.splitlines()[-1] == "3 of 3 runs: 1 failed, 2 finished"
    (failed,) = [record for record in records(here / "runs") if record["status"] == "failed"]
    assert failed["error"] == {
        "type": "Killed",
        "message": f"the process was ended by signal {int(signal.SIGKILL)}",
    }
    assert bench(*SWEEP).out.splitlines()[-1] == "3 of 3 runs: 1 finished, 2 reused"


def test_a_lost_device_ends_the_run_as_failed(paused, here, alive):
    command = paused(*LINE, "run.devices=2", at=SECOND_EPOCH, ranks=2)
    ranks = alive() - {command.pid}
    assert len(ranks) == 2
    os.kill(max(ranks), signal.SIGKILL)
    assert command.wait(120).code == 1
    assert not alive()
    (record,) = records(here / "runs")
    assert record["status"] == "failed"
    assert record["error"]["type"] == "Killed"
