"""TensorBoard event files in the run's own folder."""

from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from lowrank_bench.loggers import naming
from lowrank_bench.loggers.closable import require
from lowrank_bench.record import RunRecord


class RunTensorBoardLogger(TensorBoardLogger):
    """Ends with a row for the hparams tab: TensorBoard shows a config only with an outcome."""

    @rank_zero_only
    def close(self, record: RunRecord) -> None:
        outcome = {
            key: float(value)
            for key, value in naming.flat(record.metrics).items()
            if isinstance(value, int | float)
        }
        self.log_hyperparams(naming.config(record), metrics=outcome, step=0)
        self.finalize("success" if record.is_result else "failed")


def tensorboard_logger(record: RunRecord, folder: Path) -> RunTensorBoardLogger:
    """Write into `folder/tensorboard`; `tensorboard --logdir RUNS` finds all runs below.

    Raises: ConfigError when the package is missing.
    """
    require("tensorboard")
    logger = RunTensorBoardLogger(folder, name="", version="tensorboard", default_hp_metric=False)
    logger.log_hyperparams(naming.config(record))
    return logger
