"""Checks, made in every run, that the method really acted."""

from collections.abc import Iterator
from time import perf_counter
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from lowrank_bench.callbacks.starts import dense_weights, each_dense_weight, start_receipts
from lowrank_bench.callbacks.unhurried import UnhurriedCallback
from lowrank_bench.receipt import Receipt, receipt
from lowrank_bench.roles import role_of
from lowrank_bench.task import Task


class Receipts(UnhurriedCallback):
    """Fills `receipts`: how the layers started, and whether every role learned.

    - those of starts.py, of the model before the first update;
    - `first_step`: |W_1 - W_0|_F / |W_0|_F by layer, what the first update did to the weight;
    - `gradient_reached`, `moved`: by role, whether a gradient other than zero was seen at the
      end of an epoch, and whether the parameters differ from where they began;
    - what the optimizer and each hook of the method say of themselves by their `receipts()`.

    Their plain numbers (`findings`) travel with the checkpoint. `seconds` is what all this took.
    """

    def __init__(self, model: nn.Module) -> None:
        started = perf_counter()
        self._weights = dense_weights(model)
        self.receipts: dict[str, Receipt] = start_receipts(model, self._weights)
        self._had_gradient: dict[str, bool] = {}
        self._began = _sums(model)
        self.seconds = perf_counter() - started

    @torch.no_grad()
    def first_update(self, model: nn.Module) -> None:
        """Compare with the start; called once, after the first update."""
        started = perf_counter()
        moves = {
            name: _share(weight - start, start)
            for name, weight in each_dense_weight(model)
            # to its device, and to the type that Lightning may have given the model since
            for start in [self._weights[name].to(weight)]
        }
        self._weights = {}
        self.receipts["first_step"] = receipt(None, moves, "|W_1 - W_0| / |W_0|")
        self.seconds += perf_counter() - started

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Task)
        started = perf_counter()
        for name, parameter in pl_module.model.named_parameters():
            if parameter.requires_grad:
                role = role_of(pl_module.model, name)
                if not self._had_gradient.get(role):
                    seen = parameter.grad is not None and bool(parameter.grad.any())
                    self._had_gradient[role] = seen
        self.seconds += perf_counter() - started

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Task)
        started = perf_counter()
        model = pl_module.model
        moved: dict[str, bool] = {}
        for name, sums in _sums(model).items():
            role = role_of(model, name)
            moved[role] = moved.get(role, False) or sums != self._began[name]
        self.receipts["gradient_reached"] = _by_role(self._had_gradient, "received no gradient")
        self.receipts["moved"] = _by_role(moved, "never moved")
        for _, part in _parts(pl_module):
            if hasattr(part, "receipts"):
                self.receipts |= part.receipts(model)
        self.seconds += perf_counter() - started

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        assert isinstance(pl_module, Task)
        checkpoint["receipts"] = {
            "receipts": self.receipts,
            "had_gradient": self._had_gradient,
            "began": self._began,
            "seconds": self.seconds,
            "findings": {
                name: part.findings for name, part in _parts(pl_module) if hasattr(part, "findings")
            },
        }

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        saved = checkpoint["receipts"]
        self.receipts, self._had_gradient = saved["receipts"], saved["had_gradient"]
        self._began, self.seconds = saved["began"], saved["seconds"]
        self._findings = saved["findings"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Task)
        for name, part in _parts(pl_module):
            if name in self._findings:
                part.findings.update(self._findings[name])

    _findings: dict[str, dict[str, Any]] = {}  # noqa: RUF012  # replaced, never changed


def _share(change: Tensor, start: Tensor) -> float | None:
    """|change| / |start|; None where the start is zero."""
    size = float(start.norm())
    return float(change.norm()) / size if size else None


def _parts(task: Task) -> Iterator[tuple[str, Any]]:
    """The optimizer and the hooks, by name."""
    for optimizer in task.trainer.optimizers:
        yield "optimizer", optimizer
    yield from task.method.hooks.hooks.items()


def _by_role(reached: dict[str, bool], complaint: str) -> Receipt:
    missing = [role for role, ok in reached.items() if not ok]
    return receipt(
        not missing, dict(reached), f"{', '.join(missing)} {complaint}" if missing else ""
    )


@torch.no_grad()
def _sums(model: nn.Module) -> dict[str, tuple[float, float]]:
    """Two sums that tell whether a tensor changed, without keeping a copy of it."""
    return {
        name: (float(p.cpu().double().sum()), float(p.cpu().double().square().sum()))
        for name, p in model.named_parameters()
        if p.requires_grad
    }
