"""An optimizer that stands around another."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from lowrank_bench.receipt import Receipt


class Wrapper(Optimizer):
    """What stands between gradients and the inner rule; groups and state are the inner's own.

    Both hold the same dictionaries, so schedulers, checkpoints and counts of state see through,
    however many wrappers stand around one rule; a checkpoint is what the innermost makes of it.
    A subclass changes gradients, calls `self.inner.step()`, or does what its method needs; it
    adds its own to `receipts` and `findings`, which hold those of all wrappers inside it.
    """

    def __init__(self, inner: Optimizer) -> None:
        super().__init__(inner.param_groups, inner.defaults)
        self.inner = inner
        self.param_groups, self.state = inner.param_groups, inner.state
        self.findings: dict[str, Any] = getattr(inner, "findings", {})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        return self.inner.step(closure)

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.inner.load_state_dict(state_dict)
        self.param_groups, self.state = self.inner.param_groups, self.inner.state

    def receipts(self, model: nn.Module) -> dict[str, Receipt]:
        told = getattr(self.inner, "receipts", None)
        return {} if told is None else told(model)


def innermost(optimizer: Optimizer) -> Optimizer:
    """The rule that moves the parameters, behind all wrappers."""
    while isinstance(optimizer, Wrapper):
        optimizer = optimizer.inner
    return optimizer


def evaluated(closure: Callable[[], Any] | None) -> Any:
    """The loss of a closure given to step(), None without one."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()
