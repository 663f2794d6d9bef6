"""What a study ends with: its page, and its outcome in W&B where its runs are logged."""

from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from lowrank_bench.dashboard.study import log_study
from lowrank_bench.job import Job
from lowrank_bench.loggers.keys import has_key
from lowrank_bench.protocol.verdicts import verdicts
from lowrank_bench.report.build import report
from lowrank_bench.report.cli import default_out
from lowrank_bench.report.label import with_labels
from lowrank_bench.report.parts import gathered
from lowrank_bench.report.study.found import read


def conclude(root: Path, job: Job, console: Console) -> Path:
    """Write the report on the study in `root`; return its page. `job` is any of its jobs."""
    page = report([root], default_out(root), console=console)
    if _goes_to_wandb(job):
        logger: DictConfig = job.cfg.logger
        log_study(
            root,
            page.parent,
            project=logger.get("project", "lowrank_bench"),
            entity=logger.get("entity"),
            mode=logger.get("mode", "auto"),
            findings=_findings(root),
        )
    return page


def _findings(root: Path) -> list[str]:
    return verdicts(read(root, with_labels(gathered([root]))))


def _goes_to_wandb(job: Job) -> bool:
    chosen = job.choices["logger"]
    return chosen == "wandb" or (chosen == "auto" and has_key())
