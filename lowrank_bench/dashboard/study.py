"""A study's outcome as one W&B run: its figures, its tables, its verdict."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lowrank_bench.errors import ConfigError
from lowrank_bench.loggers.keys import resolve
from lowrank_bench.loggers.naming import HASH
from lowrank_bench.protocol.ledger import FILE, Ledger

log = logging.getLogger(__name__)

JOB = "study"  # the job type of the run, beside the "train" of others
INIT_TIMEOUT_S = 12.0
FIGURES, TABLES = "figures/*.png", "study/*.csv"  # below the report's folder


def log_study(
    folder: Path,
    report_folder: Path,
    *,
    project: str = "lowrank_bench",
    entity: str | None = None,
    mode: str = "auto",
    findings: Sequence[str] = (),
) -> None:
    """Log the study whose runs are in `folder` and whose report is in `report_folder`.

    A study that is logged again goes on with its run. `findings` are its sentences, the verdict
    first. Whatever W&B does, nothing is raised once it has been asked; a warning says so.

    Raises: ConfigError for a folder without a study, for an unknown `mode`, and for `online`
    without a key.
    """
    chosen = resolve(mode)
    try:
        ledger = Ledger.read(folder)
    except FileNotFoundError:
        raise ConfigError(f"{folder}: holds no study (looked for {FILE})") from None
    if chosen == "disabled":
        return
    try:
        from lowrank_bench.loggers.wandb import begin

        about = _about(ledger) | {"project": project, "entity": entity, "dir": str(folder)}
        run, _ = begin(about, chosen, INIT_TIMEOUT_S)
        run.log(_media(report_folder))
        run.summary.update(_summary(ledger, findings))
        run.finish()
    except Exception as error:  # W&B's service died: no reason for the study to
        said = (str(error).splitlines() or [type(error).__name__])[0]
        log.warning("W&B: the study was not logged (%s); all of it is in %s", said, report_folder)


def _about(ledger: Ledger) -> dict[str, Any]:
    rules = ledger.rules
    return {
        "id": f"{JOB}-{ledger.name}-{ledger.control_hash[:HASH]}",
        "name": ledger.name,
        "group": ledger.name,
        "job_type": JOB,
        "tags": [JOB],
        "config": {
            "study": ledger.name,
            "control_hash": ledger.control_hash,
            "search": rules.search,
            "trials": rules.trials,
            "tuning_seeds": list(rules.tuning_seeds),
            "fresh_seeds": list(rules.fresh_seeds),
            "references": list(rules.references),
            "alpha": rules.alpha,
            "margins": rules.margins,
        },
    }


def _media(report_folder: Path) -> dict[str, Any]:
    """Figures as images and tables as tables, by the names of their files."""
    import polars as pl
    import wandb

    media: dict[str, Any] = {
        f"figure/{path.stem}": wandb.Image(str(path))
        for path in sorted(report_folder.glob(FIGURES))
    }
    for path in sorted(report_folder.glob(TABLES)):
        table = pl.read_csv(path, infer_schema_length=None)
        content: dict[str, Any] = {"columns": table.columns, "data": table.rows()}
        media[f"table/{path.stem}"] = wandb.Table(**content, allow_mixed_types=True)
    return media


def _summary(ledger: Ledger, findings: Sequence[str]) -> dict[str, Any]:
    counts = {
        "study/metric": ledger.metric,
        "study/arms": len(ledger.arms),
        "study/arms_selected": sum(arm.selected is not None for arm in ledger.arms),
        "study/tuning_runs": sum(len(t.runs) for arm in ledger.arms for t in arm.trials),
        "study/final_runs": sum(len(arm.runs) for arm in ledger.arms),
        "study/comparisons": len(ledger.comparisons()),
    }
    told = {"study/verdict": findings[0], "study/findings": list(findings)} if findings else {}
    return {key: value for key, value in counts.items() if value is not None} | told
