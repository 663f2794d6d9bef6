"""The panels as a W&B workspace and as a W&B report.

Both are made without a server; only saving asks for one.
"""

import json
import warnings
from pathlib import Path
from typing import Any

from lowrank_bench.dashboard.panels import (
    SECTIONS,
    Axis,
    Bars,
    Lines,
    Panel,
    Parallel,
    Scatter,
    Section,
)
from lowrank_bench.dashboard.server import require_key, saying
from lowrank_bench.errors import ConfigError

NAME = "Low-rank bench"
ABOUT = (
    "Runs of lowrank-bench. For intervals, tests and what may be claimed, see the page of "
    "lowrank-report: the points here are single runs."
)
OURS = "Metric('JobType') == 'train'"  # a study's own run holds tables and figures, no result
COLUMNS = 3  # panels in a row
WIDTH, HEIGHT = 8, 6  # of a panel, of 24 columns


def workspace(entity: str, project: str) -> Any:
    """The workspace, not saved yet: `wandb_workspaces.workspaces.Workspace`.

    Raises: ConfigError without the package.
    """
    ws, wr = _packages()
    return ws.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[
            ws.Section(name=s.title, panels=[_panel(wr, p) for p in s.panels], is_open=True)
            for s in SECTIONS
        ],
        runset_settings=ws.RunsetSettings(filters=OURS),
    )


def report(entity: str, project: str, *, is_saved: bool = True) -> Any:
    """The report, not saved yet: `wandb_workspaces.reports.v2.Report`.

    Where it is to be saved, its run sets name the project, which W&B then asks its server about;
    without, they mean the report's own.

    Raises: ConfigError without the package.
    """
    _, wr = _packages()
    runs = {"entity": entity, "project": project} if is_saved else {}
    blocks: list[Any] = [wr.P(text=ABOUT)]
    for section in SECTIONS:
        blocks += [
            wr.H2(text=section.title),
            wr.P(text=section.about),
            wr.PanelGrid(
                runsets=[wr.Runset(name="Runs", filters=OURS, **runs)],
                panels=_laid_out(wr, section),
            ),
        ]
    return wr.Report(entity=entity, project=project, title=NAME, description=ABOUT, blocks=blocks)


def as_json(view: Any) -> str:
    """What W&B would be sent of a workspace or a report."""
    content = view._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def push(entity: str, project: str, *, as_report: bool = False) -> str:
    """Save the view, and return its address.

    Raises: ConfigError without the package or a key, or when the server refuses.
    """
    _packages()
    require_key()
    with saying(f"{entity}/{project}"):
        view = report(entity, project) if as_report else workspace(entity, project)
        return view.save().url


def write(entity: str, project: str, file: Path, *, as_report: bool = False) -> None:
    """Write what `push` would send, without a key or a server.

    Raises: ConfigError without the package, or when the file cannot be written.
    """
    view = report(entity, project, is_saved=False) if as_report else workspace(entity, project)
    try:
        file.write_text(as_json(view), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written ({error.strerror})") from None


def _packages() -> tuple[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of its own use of pydantic
            import wandb_workspaces.reports.v2 as wr
            import wandb_workspaces.workspaces as ws
    except ImportError:
        raise ConfigError(
            "wandb-workspaces is not installed; pip install lowrank-bench[dashboard]"
        ) from None
    return ws, wr


def _panel(wr: Any, panel: Panel, **place: Any) -> Any:
    match panel:
        case Scatter(title, x, y):
            axes = {"x": _metric(wr, x), "y": _metric(wr, y), "log_x": x.log, "log_y": y.log}
            return wr.ScatterPlot(title=title, **axes, **place)
        case Parallel(title, columns):
            shown = [
                wr.ParallelCoordinatesPlotColumn(metric=_metric(wr, each), log=each.log)
                for each in columns
            ]
            return wr.ParallelCoordinatesPlot(title=title, columns=shown, **place)
        case Bars(title, name):
            by_method = {"groupby": wr.Config("method_name"), "groupby_aggfunc": "sum"}
            return wr.BarPlot(title=title, metrics=[name], **by_method, **place)
        case Lines(title, name):
            seeds = {"groupby": "Group", "groupby_aggfunc": "mean", "groupby_rangefunc": "minmax"}
            return wr.LinePlot(title=title, x="epoch", y=[name], **seeds, **place)


def _metric(wr: Any, axis: Axis) -> Any:
    return wr.Config(axis.name) if axis.source == "config" else wr.SummaryMetric(axis.name)


def _laid_out(wr: Any, section: Section) -> list[Any]:
    """A report's panels, side by side."""
    return [
        _panel(
            wr,
            panel,
            layout=wr.Layout(x=WIDTH * (i % COLUMNS), y=HEIGHT * (i // COLUMNS), w=WIDTH, h=HEIGHT),
        )
        for i, panel in enumerate(section.panels)
    ]
