"""A study's outcome as one offline run, read back."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lowrank_bench.dashboard.cli import main
from lowrank_bench.dashboard.offline import _items
from lowrank_bench.dashboard.study import log_study
from lowrank_bench.errors import ConfigError
from lowrank_bench.protocol.ledger import Arm, Ledger, Rules, Trial

TABLE = "arm,mean,wins,note\nlora r8,0.9,2,\nfull,,1,tied\n"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    rules = Rules(
        search="grid",
        trials=3,
        per_decade=4,
        tuning_seeds=(1, 2),
        fresh_seeds=(101, 102),
        references=("full",),
        alpha=0.05,
        margins={"accuracy": 0.005},
        duplicates=0,
    )
    trials = [Trial({"lr": 0.1}, {1: "a", 2: "b"})]
    arms = [
        Arm("full", "full", None, [], trials, 0, {101: "c", 102: "d"}),
        Arm("lora r8", "lora", 8, [], trials),
    ]
    (tmp_path / "runs").mkdir()
    Ledger("fair", "c0ffee0011223344", rules, arms, "accuracy").write(tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """As much of a report's folder as is logged."""
    for name in ("figures", "study"):
        (tmp_path / "page" / name).mkdir(parents=True)
    Image.new("RGB", (4, 3)).save(tmp_path / "page" / "figures" / "study-1-forest.png")
    (tmp_path / "page" / "study" / "arms.csv").write_text(TABLE)
    return tmp_path / "page"


def read_back(runs: Path) -> dict[str, list[Any]]:
    (offline,) = runs.glob("wandb/offline-run-*")
    found: dict[str, list[Any]] = {}
    for item in _items(offline):
        found.setdefault(item["type"], []).append(item[item["type"]])
    return found


@pytest.mark.slow
def test_a_study_is_logged_with_figures_tables_and_verdict(runs: Path, page: Path) -> None:
    log_study(runs, page, findings=["LoRA wins by 1 point.", "Two ties."])
    found = read_back(runs)
    (run,) = found["run"]
    assert (run["run_id"], run["job_type"]) == ("study-fair-c0ffee00", "study")
    assert (run["run_group"], run["project"]) == ("fair", "lowrank_bench")
    assert run["config"]["update"]["fresh_seeds"] == [101, 102]
    summary: dict[str, Any] = {}
    for part in found["summary"]:
        summary |= part["update"]
    assert summary["study/verdict"] == "LoRA wins by 1 point."
    assert summary["study/findings"] == ["LoRA wins by 1 point.", "Two ties."]
    counted = {key: summary[f"study/{key}"] for key in ("arms", "arms_selected", "comparisons")}
    assert counted == {"arms": 2, "arms_selected": 1, "comparisons": 1}
    assert (summary["study/tuning_runs"], summary["study/final_runs"]) == (4, 2)
    (row,) = [part["item"] for part in found["history"]]
    image, table = "figure/study-1-forest", "table/arms"
    assert (row[f"{image}.width"], row[f"{image}.height"]) == (4, 3)
    (offline,) = runs.glob("wandb/offline-run-*")
    assert (offline / "files" / row[f"{image}.path"]).exists()
    stored = json.loads((offline / "files" / row[f"{table}.path"]).read_text())
    assert stored["columns"] == ["arm", "mean", "wins", "note"]
    assert stored["data"] == [["lora r8", 0.9, 2, None], ["full", None, 1, "tied"]]
    assert found["exit"][0].get("exit_code", 0) == 0


@pytest.mark.slow
def test_a_study_without_a_page_yet_is_logged_all_the_same(runs: Path, tmp_path: Path) -> None:
    assert main(["study", str(runs), str(tmp_path / "nowhere"), "--project", "mine"]) == 0
    found = read_back(runs)
    assert found["run"][0]["project"] == "mine"
    assert found["exit"][0].get("exit_code", 0) == 0


def test_whatever_wandb_does_the_study_goes_on(
    runs: Path, page: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def dead(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the service died\nsomewhere")

    monkeypatch.setattr("lowrank_bench.loggers.wandb.begin", dead)
    with caplog.at_level(logging.WARNING):
        log_study(runs, page)
    (line,) = [line.message for line in caplog.records]
    assert line == f"W&B: the study was not logged (the service died); all of it is in {page}"


def test_disabled_means_nothing_is_written(
    runs: Path, page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    log_study(runs, page)
    assert [path.name for path in runs.iterdir()] == ["study.json"]


@pytest.mark.parametrize(
    ("mode", "said"), [("online", "no key"), ("onlin", "did you mean 'online'")]
)
def test_a_mistake_in_the_mode_is_said(runs: Path, page: Path, mode: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        log_study(runs, page, mode=mode)


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no study \(looked for study.json\)"):
        log_study(tmp_path, tmp_path)


def test_neither_wandb_nor_torch_is_loaded_before_it_is_asked_for() -> None:
    modules = ["arguments", "importing", "study", "views", "panels", "cli"]
    code = "import sys\n" + "\n".join(f"import lowrank_bench.dashboard.{m}" for m in modules)
    code += "\nprint(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "lightning", "wandb", "wandb_workspaces"}
