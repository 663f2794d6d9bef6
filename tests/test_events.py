from typing import Any

import torch
from torch import nn

from lowrank_bench.events import Events

MODEL = nn.Linear(1, 1)
OPTIMIZER = torch.optim.SGD(MODEL.parameters(), lr=1)


class Planner:
    """Has one event and a plan."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def plan(self, num_updates: int, seed: int) -> None:
        self.heard.append((num_updates, seed))

    def after_step(self, model: nn.Module, optimizer: Any, update: int) -> None:
        self.heard.append((model, optimizer, update))


def test_a_hook_hears_what_it_has_a_method_for_and_nothing_else() -> None:
    hook = Planner()
    events = Events({"absent": None, "planner": hook})
    events.plan(10, 3)
    for event in (events.before_step, events.after_step, events.step_end):
        event(MODEL, OPTIMIZER, 7)
    assert hook.heard == [(10, 3), (MODEL, OPTIMIZER, 7)]
    assert list(events.hooks) == ["planner"]


def test_hooks_are_called_in_the_order_of_the_recipe() -> None:
    first, second = Planner(), Planner()
    second.heard = first.heard
    Events({"b": first, "a": second}).plan(1, 0)
    assert first.heard == [(1, 0), (1, 0)]
