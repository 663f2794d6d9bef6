"""What a run can be taken up from, and what it is tested with."""

import logging
from pathlib import Path
from time import monotonic
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint

from lowrank_bench.callbacks.unhurried import UnhurriedCallback
from lowrank_bench.record import BEST, LAST


class Checkpoints(UnhurriedCallback, Checkpoint):
    """Save `last.ckpt` at the ends of epochs, and `best.ckpt` when validation improves.

    Epochs of a small run take milliseconds, so `last.ckpt` is written at most once in
    `every_seconds`, and always after the last epoch.
    """

    def __init__(self, folder: Path, *, rule: str, every_seconds: float = 10.0) -> None:
        self.folder, self.rule, self.every_seconds = folder, rule, every_seconds
        self.best: float | None = None
        self.best_epoch: int | None = None
        self._saved_at = monotonic()

    @property
    def keep_best(self) -> bool:
        return self.rule != "last"

    @property
    def selected(self) -> Path:
        """The checkpoint that the test is run on."""
        return self.folder / (BEST if self.keep_best else LAST)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if self.keep_best and self._is_better(trainer):
            self.best_epoch = epoch
            trainer.save_checkpoint(self.folder / BEST)
        is_due = epoch == trainer.max_epochs or monotonic() - self._saved_at >= self.every_seconds
        if trainer.strategy.broadcast(is_due):  # clocks differ, and saving takes all ranks
            trainer.save_checkpoint(self.folder / LAST)
            self._saved_at = monotonic()

    def _is_better(self, trainer: L.Trainer) -> bool:
        """By the metric that the rule names: best_val_accuracy is the highest val_accuracy."""
        metric = self.rule.removeprefix("best_")
        sign = -1 if metric.endswith("loss") else 1
        value = sign * float(trainer.callback_metrics[metric])
        if self.best is not None and not value > self.best:
            return False
        self.best = value
        return True

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]


def checkpoints_away(folder: Path) -> None:
    """Delete what a finished run would be tested, exported or gone on with."""
    for name in (LAST, BEST):
        (folder / name).unlink(missing_ok=True)


def resumable(folder: Path) -> int | None:
    """The update that `last.ckpt` can be taken up from; None when there is none to trust."""
    try:
        return torch.load(folder / LAST, weights_only=True, map_location="cpu")["global_step"]
    except FileNotFoundError:
        return None
    except Exception as error:  # torch, zipfile and pickle each have their own for a torn file
        logging.warning("%s cannot be read (%s); training afresh", folder / LAST, error)
        return None
