"""Which epoch is reported, and what the record says of it."""

from pathlib import Path

import lightning as L
import torch

from lowrank_bench.callbacks.checkpoints import Checkpoints
from lowrank_bench.data.loader import BlockLoader
from lowrank_bench.loggers import curves, jsonl
from lowrank_bench.loggers.curves import epoch_rows, write_curves
from lowrank_bench.predictions import write_predictions
from lowrank_bench.record import METRICS, RunRecord
from lowrank_bench.task import Task


def test_selected(
    task: Task, trainer: L.Trainer, loader: BlockLoader, checkpoints: Checkpoints
) -> None:
    """Evaluate the test data once, on the checkpoint that the budget's rule selects.

    The result joins the curves as a row of the selected epoch; what was said of each example lies
    beside the record.
    """
    epoch, folder = trainer.max_epochs, checkpoints.folder
    if checkpoints.keep_best:
        state = torch.load(checkpoints.selected, weights_only=True, map_location="cpu", mmap=True)
        task.load_state_dict(state["state_dict"])
        epoch = checkpoints.best_epoch
    task.eval_names, task.evaluated, task.examples = ["test"], {}, []
    trainer.test(task, loader, verbose=False)
    if trainer.world_size == 1:  # with several devices each has seen a part alone
        write_predictions(folder, task.examples)
    task.examples = None
    for logger in trainer.loggers:
        logger.log_metrics(
            {"epoch": epoch or 0, **task.evaluated},
            step=task.num_updates * (epoch or 0) // (trainer.max_epochs or 1),
        )


def read_back(record: RunRecord, folder: Path, checkpoints: Checkpoints) -> None:
    """Take the record's metrics from the curves, so that the two can never disagree."""
    rows = {row["epoch"]: row for row in epoch_rows(folder / jsonl.FILE)}
    if not rows:
        return
    write_curves(folder / jsonl.FILE, folder / curves.FILE)
    selected = checkpoints.best_epoch if checkpoints.keep_best else max(rows)
    for section, epoch in (("before", 0), ("final", max(rows)), ("selected", selected)):
        row = rows.get(epoch, {}) if epoch is not None else {}
        if epoch != 0 or section == "before":
            record.metrics[section] |= {name: row.get(name) for name in METRICS}
    if selected:
        record.metrics["selected"] |= {"epoch": selected, "rule": checkpoints.rule}
