"""What a run took, counted from what lived while it ran."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from lowrank_bench.callbacks.unhurried import UnhurriedCallback
from lowrank_bench.task import Task

WARMUP_UPDATES = 20  # allocators and caches settle in the first steps


class Cost(UnhurriedCallback):
    """Fills `cost`, with `source` saying of each entry whether it was measured or derived.

    Bytes of weights, gradients and optimizer state are counted from live tensors at the end
    of training; times exclude evaluation. Memory has a peak only where the device's allocator
    keeps one; on a CPU it is unknown.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.cost: dict[str, Any] = {}
        self.source: dict[str, str] = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Task)
        parameters = list(pl_module.model.parameters())
        measured: dict[str, Any] = {
            "train_seconds": pl_module.train_seconds,
            "weight_bytes": sum(p.nbytes for p in parameters),
            "gradient_bytes": sum(p.grad.nbytes for p in parameters if p.grad is not None),
            "optimizer_state_bytes": sum(
                value.nbytes
                for optimizer in trainer.optimizers
                for state in optimizer.state.values()
                for value in state.values()
                if isinstance(value, torch.Tensor)
            ),
        }
        steps = np.asarray(pl_module.step_seconds)[WARMUP_UPDATES:]
        if len(steps):
            median, p95 = np.quantile(steps, (0.5, 0.95)).tolist()
            measured["step_time_s"] = {"median": median, "p95": p95}
        if self.checkpoint.exists():
            measured["checkpoint_bytes"] = self.checkpoint.stat().st_size
        if pl_module.device.type == "cuda":
            measured["peak_memory_bytes"] = torch.cuda.max_memory_allocated(pl_module.device)
        self.cost = measured
        self.source = dict.fromkeys(measured, "measured")
