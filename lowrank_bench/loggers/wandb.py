"""One W&B run for one of ours, that never prompts, never blocks and never breaks training.

A server that does not answer costs at most `init_timeout` and a few seconds; the run is then
written offline. A server that dies midway costs FINISH_TIMEOUT_S at the end; what was not
sent lies in the run's folder, for `wandb sync`.

Under `wandb agent` the run is the agent's: its id, project and entity, or the sweep would never
see it.
"""

import logging
import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override

from lowrank_bench.loggers import naming
from lowrank_bench.loggers.closable import require
from lowrank_bench.loggers.keys import resolve
from lowrank_bench.record import RunRecord

log = logging.getLogger(__name__)

FINISH_TIMEOUT_S = 30.0  # for the last upload; W&B's own default is to wait for ever

# (metric, its x axis, the best value to show instead of the last); nothing is selected on test
CURVES = (
    ("train_loss", "update", None),
    ("lr", "update", None),
    ("val_loss", "epoch", "min"),
    ("val_accuracy", "epoch", "max"),
    ("test_loss", "epoch", None),
    ("test_accuracy", "epoch", None),
)


class RunWandbLogger(WandbLogger):
    """A W&B run already begun; without one (other ranks) every call does nothing."""

    def __init__(self, run: Any, folder: Path, *, project: str, fell_back: bool = False) -> None:
        super().__init__(experiment=run, save_dir=folder, project=project)
        self.fell_back = fell_back  # online was wanted, offline it became
        self.sync_hint: str | None = None  # the command that uploads what is only local
        self._run = run
        self._is_broken = False
        if run is not None and run.settings.mode == "offline":
            self.sync_hint = f"wandb sync {shlex.quote(run.settings.sync_dir)}"

    @rank_zero_only
    def open(self, record: RunRecord) -> None:
        """Say what each curve is drawn over, and what of the record no other key holds."""
        run = self._run
        self._attempt(lambda: _define_curves(run))
        self._attempt(lambda: _tell_facts(run, record))

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        row = dict(metrics) if step is None else {**metrics, "update": step}
        run = self._run
        if run is not None and not self._is_broken:
            self._attempt(lambda: run.log(row))

    @override
    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run has its whole config from the start."""

    @rank_zero_only
    def close(self, record: RunRecord) -> None:
        """Write the outcome, and end the run as a success or a failure."""
        run, self._run = self._run, None
        if run is None:
            return
        exit_code = 0 if record.is_result else 1
        self._attempt(lambda: _tell_facts(run, record))  # some are known only now
        self._attempt(lambda: run.summary.update(naming.summary(record)))
        self._attempt(lambda: run.finish(exit_code=exit_code))
        if self._is_broken:
            self.sync_hint = f"wandb sync {shlex.quote(run.settings.sync_dir)}"

    def _attempt(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:  # W&B's service died: no reason for ours to
            if not self._is_broken:
                log.warning("W&B stopped (%s); the metrics are in metrics.jsonl", brief(error))
            self._is_broken = True


def wandb_logger(
    record: RunRecord,
    folder: Path,
    *,
    project: str = "lowrank_bench",
    entity: str | None = None,
    mode: str = "auto",
    init_timeout: float = 12.0,
) -> RunWandbLogger:
    """Begin the W&B run of `record` in `folder/wandb`, or go on with it.

    Raises: ConfigError for an unknown mode, for `online` without a key, without the package.
    """
    require("wandb")
    chosen = resolve(mode)
    if getattr(rank_zero_only, "rank", 0) != 0:
        return RunWandbLogger(None, folder, project=project)
    folder.mkdir(parents=True, exist_ok=True)  # W&B would quietly take the temporary folder
    about = _about(record, folder, project, entity)
    run, fell_back = begin(about, chosen, init_timeout)
    logger = RunWandbLogger(run, folder, project=project, fell_back=fell_back)
    logger.open(record)
    return logger


def is_of_agent() -> bool:
    """Whether `wandb agent` started this process, for one run of its sweep."""
    return bool(os.environ.get("WANDB_SWEEP_ID") and os.environ.get("WANDB_RUN_ID"))


def _about(record: RunRecord, folder: Path, project: str, entity: str | None) -> dict[str, Any]:
    whose = {"project": project, "entity": entity, "id": record.fingerprint}
    return ({} if is_of_agent() else whose) | {
        "dir": str(folder),
        "name": naming.title(record),
        "group": naming.group(record),
        "job_type": "train",
        "tags": naming.tags(record),
        "config": naming.config(record),
    }


def begin(about: dict[str, Any], mode: str, init_timeout: float) -> tuple[Any, bool]:
    """A W&B run in `mode`, and whether it fell back: online was wanted, offline it became.

    Raises: what W&B raises where it cannot even write offline.
    """
    if mode != "online":
        return _begin(about, mode, init_timeout), False
    try:
        return _begin(about, "online", init_timeout), False
    except Exception as error:  # unreachable, refused, or a key of the wrong form
        _say_once(f"W&B: not reachable ({brief(error)}); written offline instead")
        _forget_service()
        return _begin(about, "offline", init_timeout), True


def _begin(about: dict[str, Any], mode: str, init_timeout: float) -> Any:
    import wandb

    wandb.setup(wandb.Settings(silent=True))  # else the login speaks before the run's settings
    settings = wandb.Settings(
        init_timeout=init_timeout,
        finish_timeout=FINISH_TIMEOUT_S,
        finish_timeout_raises=True,
        reinit="finish_previous",  # the default would log into a run left open by an earlier one
        console="off",
        silent=True,
    )
    # W&B ignores it offline; an agent's run has been made by its server, and is begun, not resumed
    resume = {"resume": "allow"} if mode == "online" and not is_of_agent() else {}
    return wandb.init(**about, **resume, mode=mode, settings=settings)  # type: ignore[arg-type]


def _define_curves(run: Any) -> None:
    run.define_metric("update", hidden=True)
    run.define_metric("epoch", hidden=True)
    run.define_metric("*", step_metric="update")
    for metric, axis, best in CURVES:
        # Under a sweep the summary holds the plain last value, which its search can read.
        run.define_metric(metric, step_metric=axis, summary=None if is_of_agent() else best)


def _tell_facts(run: Any, record: RunRecord) -> None:
    facts = naming.facts(record, dict(run.config))
    run.config.update({naming.FACTS: facts}, allow_val_change=True)


def _forget_service() -> None:
    """End W&B's service: it holds on to the id of a run that failed to begin."""
    import wandb

    wandb.teardown()


_said: set[str] = set()


def _say_once(line: str) -> None:
    if line not in _said:
        _said.add(line)
        log.warning(line)


def brief(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
