"""What a run took, counted from what lived while it ran."""

from pathlib import Path
from time import perf_counter
from typing import Any

import lightning as L
import numpy as np
import torch

from lowrank_bench.callbacks.energy import Energy
from lowrank_bench.callbacks.memory import DevicePeak, resident_peak_bytes
from lowrank_bench.callbacks.merging import merging
from lowrank_bench.callbacks.unhurried import UnhurriedCallback
from lowrank_bench.callbacks.watch import Watch
from lowrank_bench.data.loader import BlockLoader
from lowrank_bench.footprint import (
    PROJECTORS,
    adapter_bytes,
    gradients,
    live_bytes,
    merged_bytes,
    state_tensors,
)
from lowrank_bench.objectives.causal_lm import CausalLM
from lowrank_bench.task import Task

WARMUP_UPDATES = 20  # allocators and caches settle in the first steps
MERGING_SHARE = 0.002  # of the training time, for merging all layers


class Cost(UnhurriedCallback):
    """Fills `cost`, with `source` saying of each entry whether it was measured or derived.

    docs/costs.md says what each of them is. Bytes of weights, gradients and optimizer state are
    counted from live tensors at the end of training; peaks, energy and times leave evaluation
    out. Early updates are looked at by a Watch, on the first device.
    """

    def __init__(self, checkpoint: Path, *, is_compiled: bool = False) -> None:
        self.checkpoint, self.is_compiled = checkpoint, is_compiled
        self.cost: dict[str, Any] = {}
        self.source: dict[str, str] = {}
        self._watch: Watch | None = None
        self._peak: DevicePeak | None = None
        self._energy = Energy(None)
        self._began_at: int | None = None  # the update that this process began with
        self._seconds = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Task)
        began = perf_counter()
        self._began_at = trainer.global_step
        if pl_module.device.type == "cuda":
            torch.cuda.empty_cache()  # of what was evaluated before
            self._peak = DevicePeak(pl_module.device)
        self._energy = Energy.of(pl_module.device, trainer.world_size)
        if trainer.is_global_zero:
            self._watch = pl_module.watch = Watch(
                pl_module,
                trainer.optimizers[0],
                is_compiled=self.is_compiled,
                device_peak=self._peak,
            )
        self._seconds += perf_counter() - began

    # Stretches of training: from the start of an epoch to its evaluation, or its end without one

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._peak is not None:
            self._peak.open()
        self._energy.open()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._peak is not None:
            self._peak.close()
        self._energy.close()

    on_train_epoch_end = on_validation_start

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Task)
        began = perf_counter()
        measured = {
            "num_updates": pl_module.num_updates,
            "train_seconds": pl_module.train_seconds,
            "rss_peak_bytes": resident_peak_bytes(),
            **self._counted(trainer, pl_module),
            **self._watched(),
        }
        derived: dict[str, Any] = {
            "adapter_bytes": adapter_bytes(pl_module.model),
            "merged_model_bytes": merged_bytes(pl_module.model),
            "train_flops": self._train_flops(pl_module.num_updates, trainer.optimizers[0]),
        }
        steps = np.asarray(pl_module.step_seconds)[WARMUP_UPDATES:]
        median = None
        if len(steps):
            median, p95 = np.quantile(steps, (0.5, 0.95)).tolist()
            measured["step_time_s"] = {"median": median, "p95": p95}
            derived |= _rates(pl_module, trainer.train_dataloader, median)
        if self.checkpoint.exists():
            measured["checkpoint_bytes"] = self.checkpoint.stat().st_size
        if self._peak is not None:
            measured["peak_memory_bytes"] = self._peak.allocated
            measured["peak_reserved_bytes"] = self._peak.reserved
        measured["energy_j"] = self._energy.joules
        merged = merging(
            pl_module.model,
            budget_s=MERGING_SHARE * pl_module.train_seconds,
            wait=torch.cuda.synchronize if pl_module.device.type == "cuda" else lambda: None,
        )
        (measured if merged.all_were_merged else derived)["merge_s"] = merged.merge_s
        derived["switch_s"] = merged.switch_s
        measured["measuring_seconds"] = (
            self._seconds + self._watching_seconds(median) + perf_counter() - began
        )
        self._fill(measured, "measured")
        self._fill(derived, "derived")

    def _counted(self, trainer: L.Trainer, task: Task) -> dict[str, int]:
        """Bytes that live between two updates, and of the gradients that the last one left."""
        model, optimizers = task.model, trainer.optimizers
        counted = {
            "weight_bytes": live_bytes(model.parameters()),
            "buffer_bytes": live_bytes(model.buffers()),
            "optimizer_state_bytes": live_bytes(state_tensors(optimizers)),
            "projector_bytes": live_bytes(state_tensors(optimizers, PROJECTORS)),
        }
        if self._began_at is not None and task.update > self._began_at:
            counted["gradient_bytes"] = live_bytes(gradients(model))
        return counted

    def _watched(self) -> dict[str, int | None]:
        if self._watch is None:
            return {}
        return {
            "peak_memory_bytes": self._watch.peak_bytes,
            "flops_per_update": self._watch.flops,
            "flops_renewing_update": self._watch.renewal_flops,
        }

    def _train_flops(self, num_updates: int, optimizer: Any) -> int | None:
        """Of all updates: U of one, and for each renewal of a projection what it takes more."""
        watch, period = self._watch, getattr(optimizer, "period", None)
        if watch is None or watch.flops is None:
            return None
        if not period:
            return num_updates * watch.flops
        if watch.renewal_flops is None:  # resumed: the first update was another process's
            return None
        return num_updates * watch.flops + -(-num_updates // period) * (
            watch.renewal_flops - watch.flops
        )

    def _watching_seconds(self, median: float | None) -> float:
        """Of the watch, that updates were slower under it included.

        The first update is slow by itself, so it is taken to be slowed as those after it.
        """
        if self._watch is None:
            return 0.0
        slow = self._watch.update_s
        extra = sum(max(0.0, s - median) for n, s in slow.items() if n > 0) if median else 0.0
        return self._watch.aside_s + extra * (2 if 0 in slow else 1)

    def _fill(self, entries: dict[str, Any], source: str) -> None:
        known = {key: value for key, value in entries.items() if value is not None}
        self.cost |= known
        self.source |= dict.fromkeys(known, source)


def _rates(task: Task, loader: Any, step_s: float) -> dict[str, float]:
    """Examples, and of a language model tokens, of a full batch in a second at the median step."""
    if not isinstance(loader, BlockLoader):
        return {}
    examples = min(loader.batch_size, len(loader.split)) / step_s
    if not isinstance(task.objective, CausalLM):
        return {"examples_per_s": examples}
    x, _ = loader.split.fetch(slice(0, 1))
    return {"examples_per_s": examples, "tokens_per_s": examples * x.shape[1]}
