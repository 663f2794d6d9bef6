"""What a method does on the clock, event by event."""

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

EVENTS = ("before_step", "after_step", "step_end")


class Events:
    """The hooks of a method, called in the order in which the recipe names them.

    A hook is any object with some of these: `check(model)`, once the method is applied, to
    refuse a model; `plan(num_updates, seed)`, once, when the length of training is known;
    `before_step`, after gradients are complete and before the optimizer moves; `after_step`,
    while they still live; `step_end`, when the update is over. The last three are called with
    (model, optimizer, update), `update` counted from 0.
    """

    def __init__(self, hooks: Mapping[str, Any]) -> None:
        self.hooks = {name: hook for name, hook in hooks.items() if hook is not None}
        for event in EVENTS:
            setattr(self, f"_{event}", self._those_with(event))

    def check(self, model: nn.Module) -> None:
        for each in self._those_with("check"):
            each(model)

    def plan(self, num_updates: int, seed: int) -> None:
        for each in self._those_with("plan"):
            each(num_updates, seed)

    def before_step(self, model: nn.Module, optimizer: Optimizer, update: int) -> None:
        for each in self._before_step:
            each(model, optimizer, update)

    def after_step(self, model: nn.Module, optimizer: Optimizer, update: int) -> None:
        for each in self._after_step:
            each(model, optimizer, update)

    def step_end(self, model: nn.Module, optimizer: Optimizer, update: int) -> None:
        for each in self._step_end:
            each(model, optimizer, update)

    def _those_with(self, event: str) -> list[Any]:
        return [getattr(hook, event) for hook in self.hooks.values() if hasattr(hook, event)]

    _before_step: list[Any]
    _after_step: list[Any]
    _step_end: list[Any]
