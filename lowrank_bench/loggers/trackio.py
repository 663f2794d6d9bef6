"""trackio: a dashboard on one's own machine (`trackio show --project lowrank_bench`).

Nothing leaves the machine: the Hub is switched off, and a Space or server named in the
environment is not used. The rows are in trackio's own folder (TRACKIO_DIR).
"""

import contextlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override

from lowrank_bench.loggers import naming
from lowrank_bench.loggers.closable import require
from lowrank_bench.record import RunRecord

REMOTES = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_BUCKET_ID")


class TrackioLogger(Logger):
    """A trackio run already begun; without one (other ranks) every call does nothing."""

    def __init__(self, run: Any, folder: Path, *, project: str) -> None:
        super().__init__()
        self._run, self._folder, self._project = run, folder, project

    @property
    @override
    def name(self) -> str:
        return self._project

    @property
    @override
    def version(self) -> str:
        return "" if self._run is None else self._run.name

    @property
    @override
    def save_dir(self) -> str:
        return str(self._folder)

    @override
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run has its whole config from the start."""

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        if self._run is not None:
            self._run.log({key: float(value) for key, value in metrics.items()}, step=step)

    @rank_zero_only
    def close(self, record: RunRecord) -> None:
        if self._run is None:
            return
        import trackio

        self._run = None
        with contextlib.redirect_stdout(io.StringIO()):
            trackio.finish()  # run.finish() would leave it current, to be finished again at exit


def trackio_logger(
    record: RunRecord, folder: Path, *, project: str = "lowrank_bench"
) -> TrackioLogger:
    """Begin the trackio run of `record`, or go on with it.

    Raises: ConfigError when the package is missing.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is first imported
    require("trackio")
    if getattr(rank_zero_only, "rank", 0) != 0:
        return TrackioLogger(None, folder, project=project)
    import trackio

    for remote in REMOTES:
        os.environ.pop(remote, None)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints a banner for each run
        run = trackio.init(
            project=project,
            name=f"{naming.title(record)}-{record.fingerprint[: naming.HASH]}",
            group=naming.group(record),
            config=naming.config(record),
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )
    return TrackioLogger(run, folder, project=project)
