"""Three small SVD layers, their gradients, and a clock for the allocator."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from lowrank_bench.hooks.rank_budget import RankBudget
from lowrank_bench.inits.svd_gaussian import svd_gaussian
from lowrank_bench.layers.svd import SVDLinear
from lowrank_bench.optim.importance import parts

SHAPES = {"tall": (6, 10), "wide": (10, 6), "square": (7, 7)}
SETTINGS: dict[str, Any] = {
    "target_rank": 2,
    "start": 4,
    "final": 6,
    "interval": 3,
    "beta1": 0.85,
    "beta2": 0.85,
    "score_after_step": False,
}
UPDATES = 30


def budget(num_updates: int = UPDATES, **settings: Any) -> RankBudget:
    hook = RankBudget(**(SETTINGS | settings))
    hook.plan(num_updates, seed=0)
    return hook


def model(rank: int = 4, *, random_lam: bool = False) -> nn.ModuleDict:
    torch.manual_seed(0)
    layers = nn.ModuleDict(
        {name: SVDLinear(nn.Linear(i, o), rank, 4, 0) for name, (i, o) in SHAPES.items()}
    )
    for layer in svds(layers):
        layer.base.requires_grad_(False)
        svd_gaussian(layer, std=0.5)
        if random_lam:
            nn.init.normal_(layer.lam)
    return layers


def svds(layers: nn.ModuleDict) -> list[SVDLinear]:
    return [layer for layer in layers.values() if isinstance(layer, SVDLinear)]


def draw(layers: nn.ModuleDict, update: int) -> None:
    generator = torch.Generator().manual_seed(update)
    for part in parts(svds(layers)):
        part.grad = torch.randn(part.shape, generator=generator)


def advance(
    layers: nn.ModuleDict,
    optimizer: Optimizer,
    hook: RankBudget,
    updates: range,
    grads: Callable[[nn.ModuleDict, int], None] = draw,
) -> None:
    for update in updates:
        grads(layers, update)
        hook.before_step(layers, optimizer, update)
        optimizer.step()
        hook.after_step(layers, optimizer, update)


def adam(layers: nn.ModuleDict, **options: Any) -> AdamW:
    return AdamW(parts(svds(layers)), lr=0.05, **options)


def active(layers: nn.ModuleDict) -> list[list[bool]]:
    return [layer.active.tolist() for layer in svds(layers)]


def total(layers: nn.ModuleDict) -> int:
    return sum(layer.active_rank for layer in svds(layers))
