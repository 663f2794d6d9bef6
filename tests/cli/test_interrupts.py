"""Whatever ends a command, no process is left and the same command goes on from there."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import STRIKES
from left_behind import alive, contents, records, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc here"),
]

LINE = (
    *("--config-dir", str(STRIKES), "method=lowrank", "method/hooks=pause", "rank=2"),
    *("data=digits", "epochs=3", "model.hidden=[32,32]", "budget.selection=best_val_accuracy"),
)
SWEEP = ("-m", *LINE, "seed=0,1,2")
SECOND_EPOCH, THIRD_EPOCH = 25, 45  # updates in the middle of one; an epoch has 20


@pytest.fixture
def paused(start, here, env):
    """Start a command and wait until a run of it stands still."""

    def begin(*words: str, at: int, behind: int = 0, ranks: int = 1) -> subprocess.Popen[str]:
        env.update(PAUSE_AT=str(at), PAUSE_BEHIND=str(behind), EAGER_CHECKPOINTS="1")
        process = start(*words)
        wait_until(
            lambda: len(list(here.glob("paused-*"))) == ranks or process.poll() is not None,
            seconds=200,
            what="the run pauses",
        )
        assert process.poll() is None, process.communicate()
        del env["PAUSE_AT"]
        return process

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
def test_an_interrupted_run_goes_on_to_the_same_weights(paused, bench, here, mark, number, at):
    process = paused(*LINE, at=at)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == (
        "lowrank-bench: interrupted; the same command goes on from here"
    )
    assert "Traceback" not in err
    assert not alive(mark)
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


def test_ctrl_c_ends_a_sweep_and_keeps_what_is_finished(paused, bench, here, mark):
    process = paused(*SWEEP, at=SECOND_EPOCH, behind=1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in out + err
    assert not alive(mark)
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


def test_a_killed_command_takes_its_run_along_and_can_be_repeated(paused, bench, here, mark):
    process = paused(*SWEEP, at=SECOND_EPOCH, behind=1)
    before = contents(here / "runs")
    assert len(before) == 1
    assert len(alive(mark)) == 2
    process.kill()
    process.wait()
    wait_until(lambda: not alive(mark), seconds=10, what="the run ends with its parent")

    outcome = bench(*SWEEP)
    assert (outcome.code, outcome.err) == (0, "")
    after = contents(here / "runs")
    assert before.items() <= after.items()
    assert [record["status"] for record in records(here / "runs")] == ["finished"] * 3


def test_a_killed_run_is_recorded_and_the_sweep_goes_on(paused, bench, here, mark):
    process = paused(*SWEEP, at=SECOND_EPOCH)
    (child,) = alive(mark) - {process.pid}
    os.kill(child, signal.SIGKILL)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (1, "")
    assert out.splitlines()[-1] == "3 of 3 runs: 1 failed, 2 finished"
    (failed,) = [record for record in records(here / "runs") if record["status"] == "failed"]
    assert failed["error"] == {
        "type": "Killed",
        "message": f"the process was ended by signal {int(signal.SIGKILL)}",
    }
    assert bench(*SWEEP).out.splitlines()[-1] == "3 of 3 runs: 1 finished, 2 reused"


def test_a_lost_device_ends_the_run_as_failed(paused, here, mark):
    process = paused(*LINE, "run.devices=2", at=SECOND_EPOCH, ranks=2)
    ranks = alive(mark) - {process.pid}
    assert len(ranks) == 2
    os.kill(max(ranks), signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert not alive(mark)
    (record,) = records(here / "runs")
    assert record["status"] == "failed"
    assert record["error"]["type"] == "Killed"
