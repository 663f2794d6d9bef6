"""The sweeps of scripts/, worked off as W&B's agent works them off; only its server is missing."""

import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from lowrank_bench.dashboard.cli import main
from lowrank_bench.dashboard.importing import import_offline
from lowrank_bench.dashboard.offline import offline_runs
from lowrank_bench.record import RunRecord, find
from tests.dashboard.test_remembering import without_values

SCRIPTS = Path(__file__).parents[2] / "scripts"
SHIPPED = sorted(SCRIPTS.glob("wandb_sweep*.yaml"))
SCHEMA = Path(__file__).with_name("wandb_sweep_schema.json")  # of W&B's `sweeps` 0.3.0, MIT
SWEEP = "sw33p"
GRID = {
    "method": ["lowrank", "lora"],
    "rank": [2, 4, 8],
    "budget.clip_norm": [None, 1.0],
    "model": [{"hidden": [32, 32]}],  # a nested parameter
}
Launch = Callable[..., Any]


def sweep(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))  # all that W&B itself does


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_sweep_is_what_wandb_takes(path: Path) -> None:
    jsonschema.validate(sweep(path), json.loads(SCHEMA.read_text()))


def test_the_schema_refuses_what_wandb_would() -> None:
    config = sweep(SHIPPED[0])
    config["parameters"] = {"method/init": {"values": ["pissa"]}}  # no slash in a name
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config, json.loads(SCHEMA.read_text()))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_sweep_watches_what_runs_log_each_epoch(path: Path) -> None:
    from lowrank_bench.loggers.curves import MEASURES

    assert sweep(path)["metric"]["name"] in MEASURES


def test_the_shipped_grid_has_twelve_runs() -> None:
    values = [each["values"] for each in sweep(SCRIPTS / "wandb_sweep.yaml")["parameters"].values()]
    assert len(list(itertools.product(*values))) == 12


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launch]:
    """Start a run as `wandb agent` does on its server's word; gives the agent's process."""
    from wandb.wandb_agent import Agent

    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for name, value in {"SWEEP_ID": SWEEP, "MODE": "offline", "DIR": str(here)}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    for name in ("RUN_ID", "SWEEP_PARAM_PATH"):  # the agent sets them; taken back at the end
        monkeypatch.setenv(f"WANDB_{name}", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    programs = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    assert (programs / "lowrank-wandb").exists(), "install the package again: it has a new command"
    nobody: Any = None  # no server, and no queue of its orders
    agent = Agent(nobody, nobody, sweep_id=SWEEP)
    config = sweep(SCRIPTS / "wandb_sweep.yaml")

    def start(run_id: str, parameters: dict[str, Any], epochs: int = 1) -> Any:
        said = [re.sub(r"^epochs=\d+$", f"epochs={epochs}", word) for word in config["command"]]
        assert f"epochs={epochs}" in said
        agent._sweep_command = said
        args = {key: {"value": value} for key, value in parameters.items()}
        order = {"type": "run", "run_id": run_id, "program": config["program"], "args": args}
        assert "exception" not in agent._process_command(order)
        process = agent._run_processes[run_id]
        process.stop = lambda: agent._process_command({"type": "stop", "run_id": run_id})
        return process

    yield start
    for process in agent._run_processes.values():
        if process.poll() is None:
            process.kill()
            process.wait()


def records() -> dict[str, RunRecord]:
    """Those below the working folder, by fingerprint."""
    found = [RunRecord.read(path) for path in find(Path("runs"))]
    return {record.fingerprint: record for record in found}


@pytest.mark.slow
def test_a_sweep_of_twelve_runs_makes_twelve_records(launch: Launch, tmp_path: Path) -> None:
    points = [dict(zip(GRID, point, strict=True)) for point in itertools.product(*GRID.values())]
    assert len(points) == 12
    for begin in range(0, len(points), 2):
        ends = [launch(f"run{i}", points[i]) for i in (begin, begin + 1)]
        assert [process.wait() for process in ends] == [0, 0]
    made = records()
    assert len(made) == 12
    assert {record.status for record in made.values()} == {"finished"}
    wanted = {
        (
            *("data=digits", "epochs=1", f"method={point['method']}", f"rank={point['rank']}"),
            f"budget.clip_norm={'null' if point['budget.clip_norm'] is None else '1.0'}",
            *("model.hidden=[32,32]", "logger=wandb"),
        )
        for point in points
    }
    assert {tuple(record.overrides) for record in made.values()} == wanted
    for record in made.values():
        assert record.config["model"]["hidden"] == [32, 32]
        said = {word.partition("=")[0]: word.partition("=")[2] for word in record.overrides}
        clip = None if said["budget.clip_norm"] == "null" else float(said["budget.clip_norm"])
        assert record.config["budget"]["clip_norm"] == clip
        assert (record.name["method"], str(record.name["rank"])) == (said["method"], said["rank"])

    # W&B has them under the agent's ids, and they come back from there as they were
    paths = import_offline(Path(), tmp_path / "back")
    assert {path.parent.name.rpartition("-")[2] for path in paths} == {f"run{i}" for i in range(12)}
    back = [RunRecord.read(path) for path in paths]
    assert {each.fingerprint: asdict(each) for each in back} == {
        name: without_values(record) for name, record in made.items()
    }


@pytest.mark.slow
def test_a_point_that_was_trained_before_still_tells_the_sweep_its_result(
    launch: Launch, tmp_path: Path
) -> None:
    point = {"method": "lora", "rank": 2, "model.hidden": [16, 16], "method.init": "pissa"}
    assert launch("first", point).wait() == 0
    ((_, record),) = records().items()
    assert record.choices["method/init"] == "pissa"
    written = {path: path.read_bytes() for path in find(Path("runs"))}
    assert launch("second", point).wait() == 0
    assert {path: path.read_bytes() for path in find(Path("runs"))} == written
    first, second = offline_runs(Path())
    assert (first.id, second.id) == ("first", "second")
    outcome = {k: v for k, v in first.summary_metrics.items() if not k.startswith("_")}
    assert "selected/val_accuracy" in outcome
    assert outcome == {k: v for k, v in second.summary_metrics.items() if not k.startswith("_")}
    curve = [row["val_accuracy"] for row in first.history if "val_accuracy" in row]
    assert len(curve) == 2
    assert [row["val_accuracy"] for row in second.history if "val_accuracy" in row] == curve


@pytest.mark.slow
def test_a_run_that_is_stopped_early_is_interrupted_and_no_failure(launch: Launch) -> None:
    process = launch("slow", {"method": "lora", "model.hidden": [16, 16]}, epochs=100_000)
    deadline = time.monotonic() + 200
    while sum(len(p.read_text().splitlines()) for p in Path("runs").glob("*/metrics.jsonl")) < 9:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.stop()
    assert process.wait() < 0  # the agent counts a code above 0 as a failed run
    (record,) = records().values()
    assert record.status == "interrupted"
    (run,) = offline_runs(Path())
    assert run.summary_metrics["status"] == "interrupted"
    assert isinstance(run.summary_metrics["val_accuracy"], float)  # what a search reads


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lr"], "lowrank-wandb: --lr: no value; the sweep's command takes its parameters as"),
        (["--method=loar"], "lowrank-bench: method=loar: there is no such choice; did you mean"),
        (["--method.init=pizza"], "lowrank-bench: method/init=pizza: there is no such choice"),
        (["--rnak=4"], "lowrank-bench: rnak: there is no such key; did you mean 'rank'"),
    ],
)
def test_a_mistake_in_a_sweep_is_one_line(words: list[str], said: str, tmp_path: Path) -> None:
    program = [sys.executable, "-m", "lowrank_bench.dashboard.cli", "run", *words]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(said)
    assert not (tmp_path / "runs").exists()


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert all(f"    {name} " in told for name in ("run", "views", "import", "read", "study"))
