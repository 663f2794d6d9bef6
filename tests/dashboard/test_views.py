"""The workspace and the report are made, and sent, by W&B's own code; no server is asked."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from lowrank_bench.dashboard.cli import main
from lowrank_bench.dashboard.panels import SECTIONS, Axis, Bars, Lines, Parallel, Scatter
from lowrank_bench.dashboard.views import as_json, report, workspace
from lowrank_bench.loggers import naming
from lowrank_bench.record import RunRecord
from tests.dashboard.fake_wandb import Api, Service

ROOT = Path(__file__).parents[2]


def axes() -> list[Axis]:
    found: list[Axis] = []
    for panel in (panel for section in SECTIONS for panel in section.panels):
        match panel:
            case Scatter(_, x, y):
                found += [x, y]
            case Parallel(_, columns):
                found += columns
            case Bars(_, name):
                found.append(Axis(name))
            case Lines():
                pass
    return found


def titles_in(text: str) -> list[str]:
    """Titles of the panels, in order, wherever they stand in what is sent."""
    found: list[str] = []

    def walk(part: Any) -> None:
        if isinstance(part, dict):
            if "chartTitle" in part:
                found.append(part["chartTitle"])
            for each in part.values():
                walk(each)
        elif isinstance(part, list):
            for each in part:
                walk(each)

    walk(json.loads(text))
    return found


TITLES = [panel.title for section in SECTIONS for panel in section.panels]


def test_panels_ask_for_what_runs_log(record: RunRecord) -> None:
    record.cost |= {"flops_per_update": 10, "peak_memory_bytes": 10}
    record.metrics["selected"] |= {"source_accuracy": 0.5}
    config, summary = naming.config(record), naming.summary(record)
    known = {"config": config, "summary": summary}
    assert [axis for axis in axes() if axis.name not in known[axis.source]] == []


def test_the_workspace_has_every_panel() -> None:
    text = as_json(workspace("team", "project"))
    assert titles_in(text) == TITLES
    view = json.loads(text)
    assert (view["entity"], view["project"]) == ("team", "project")
    sections = view["spec"]["section"]["panelBankConfig"]["sections"]
    assert [each["name"] for each in sections] == [section.title for section in SECTIONS]
    (scatter,) = sections[1]["panels"]
    assert scatter["config"]["xAxis"] == "config:lr.value"
    assert scatter["config"]["yAxis"] == "summary:selected/val_accuracy"
    assert scatter["config"]["xAxisLogScale"] is True
    (runs,) = view["spec"]["section"]["runSets"]
    (only,) = runs["filters"]["filters"]
    assert (only["key"]["name"], only["op"], only["value"]) == ("jobType", "=", "train")


def test_the_workspace_is_read_back_by_wandb_as_it_was() -> None:
    import wandb_workspaces.workspaces as ws

    made = workspace("team", "project")
    again = ws.Workspace._from_model(made._to_model())
    assert [s.name for s in again.sections] == [s.name for s in made.sections]
    assert [[type(p) for p in s.panels] for s in again.sections] == [
        [type(p) for p in s.panels] for s in made.sections
    ]
    assert titles_in(as_json(again)) == TITLES


def test_the_report_has_every_panel_and_what_to_look_for() -> None:
    text = as_json(report("team", "project", is_saved=False))
    assert titles_in(text) == TITLES
    for section in SECTIONS:
        assert json.dumps(section.about)[1:-1] in text


def test_panels_of_a_report_do_not_lie_on_each_other() -> None:
    for block in report("team", "project").blocks:
        places = [(p.layout.x, p.layout.y) for p in getattr(block, "panels", [])]
        assert len(places) == len(set(places))
        assert all(x + 8 <= 24 for x, _ in places)


@pytest.mark.parametrize("is_report", [False, True], ids=["workspace", "report"])
def test_a_dry_run_needs_no_key_and_writes_what_would_be_sent(
    is_report: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "view.json"
    words = ["views", "team/project", "--dry-run", str(file), *(["--report"] if is_report else [])]
    assert main(words) == 0
    assert titles_in(file.read_text()) == TITLES
    assert capsys.readouterr() == (f"{file}\n", "")


@pytest.mark.parametrize("is_report", [False, True], ids=["workspace", "report"])
def test_saving_sends_every_panel(
    is_report: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service = Service([])
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr("wandb.Api", lambda **_: Api(service))
    assert main(["views", "team/project", *(["--report"] if is_report else [])]) == 0
    (sent,) = [given for query, given in service.asked if "upsertView" in query]
    assert (sent["entityName"], sent["projectName"]) == ("team", "project")
    assert sent["type"] == ("runs" if is_report else "project-view")
    assert titles_in(sent["spec"]) == TITLES
    assert "https://wandb.test/team/project" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["team/project"], "W&B has no key; `wandb login` first, or set WANDB_API_KEY"),
        (["team"], "team: a W&B project is written ENTITY/PROJECT"),
        (["a/b", "--dry-run", "/nowhere/x.json"], "/nowhere/x.json: cannot be written"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["views", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(f"lowrank-wandb: {said}")


def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("wandb_workspaces")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    assert main(["views", "team/project", "--dry-run", "x.json"]) == 2
    assert capsys.readouterr().err == (
        "lowrank-wandb: wandb-workspaces is not installed; pip install lowrank-bench[dashboard]\n"
    )


def test_the_guide_names_every_view_and_its_place_on_the_local_page() -> None:
    guide = (ROOT / "docs" / "wandb.md").read_text(encoding="utf-8")
    rows = [line for line in guide.splitlines() if line.startswith("|")]
    for section in SECTIONS:
        assert f"| {section.title} | {section.local} |" in rows
