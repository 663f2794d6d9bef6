"""A small network of LoRA layers, and a clock for its restarts."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from lowrank_bench.hooks.restarts import Restarts
from lowrank_bench.inits.zero_b import zero_b
from lowrank_bench.layers.dora import DoRALinear
from lowrank_bench.layers.lora import LoRALinear

SETTINGS: dict[str, Any] = {
    "cycle_length": 5,
    "reset": "zero",
    "prune": 0.8,
    "keep_step": False,
    "independent_masks": False,
    "zero_start": False,
}
UPDATES = 17


class Net(nn.Module):
    """Two adapted layers, and a head that trains whole."""

    def __init__(self, kind: type[LoRALinear] = LoRALinear, rank: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = kind(nn.Linear(12, 16), rank, 4, 0)
        self.second = kind(nn.Linear(16, 10), rank, 4, 0)
        self.head = nn.Linear(10, 4)
        for layer in (self.first, self.second):
            layer.base.weight.requires_grad_(False)
            zero_b(layer)
            with torch.no_grad():
                layer.finish_start()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.second(F.relu(self.first(x)))))


def restarts(num_updates: int = UPDATES, *, seed: int = 0, **settings: Any) -> Restarts:
    hook = Restarts(**(SETTINGS | settings))
    hook.plan(num_updates, seed)
    return hook


def adam(net: nn.Module, **options: Any) -> AdamW:
    return AdamW([p for p in net.parameters() if p.requires_grad], lr=0.02, **options)


def advance(net: nn.Module, optimizer: Optimizer, hook: Restarts, updates: range) -> None:
    for update in updates:
        generator = torch.Generator().manual_seed(update)
        x = torch.randn(24, 12, generator=generator).to(next(net.parameters()).dtype)
        y = torch.randint(4, (24,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        hook.before_step(net, optimizer, update)
        optimizer.step()
        hook.step_end(net, optimizer, update)


def kinds() -> Any:
    return pytest.mark.parametrize("kind", [LoRALinear, DoRALinear])
