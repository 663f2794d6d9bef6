"""Optimizer elements, counted from live tensors, for one weight of 512 x 784 at rank 8."""

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from lowrank_bench.door import load_method

M, N, R = 512, 784, 8
FACTORS = (M + N) * R
GOLDEN = {  # recipe: (overrides, elements of state, trainable)
    "full": ((), 2 * M * N, M * N),
    "lowrank": ((), 2 * FACTORS, FACTORS),
    "ae": ((), 2 * FACTORS, FACTORS),
    "lora": ((), 2 * FACTORS, FACTORS),
    "rslora": ((), 2 * FACTORS, FACTORS),
    "lora_plus": ((), 2 * FACTORS, FACTORS),
    "relora": ((), 2 * FACTORS, FACTORS),
    "pissa": ((), 2 * FACTORS, FACTORS),
    "cola": ((), 2 * FACTORS, FACTORS),
    "dora": ((), 21_760, 10_880),
    "vera": ((), 1_040, 520),
    "lora_fa": ((), 8_192, 4_096),
    "lora_pro": ((), 802_816, 10_368),
    "sltrain": ((), 44_820, 22_410),
    "adalora": (
        ("method.adapter.rank_factor=1", "method.hooks.rank_budget.target_rank=7"),
        41_504,
        10_376,
    ),
    "galore": ((), 16_640, M * N),
    "galore reverse_std": (("method.transform.side=reverse_std",), 14_464, M * N),
    "galore full": (("method.transform.side=full",), 10_496, M * N),
    "fira": ((), 16_641, M * N),
    "apollo": ((), 12_546, M * N),
    "apollo_mini": ((), 2 * N + 2, M * N),
    "subspace": ((), 2 * R, R),
}


def elements(optimizer: Optimizer) -> int:
    """Without the counters, one for each parameter."""
    return sum(
        value.numel()
        for state in optimizer.state.values()
        for key, value in state.items()
        if isinstance(value, torch.Tensor) and key != "step"
    )


@pytest.mark.parametrize("name", GOLDEN)
def test_the_state_has_as_many_elements_as_its_formula(name: str) -> None:
    overrides, expected, trainable = GOLDEN[name]
    method = load_method(name.split()[0], overrides=[f"rank={R}", "lr=1e-3", *overrides])
    torch.manual_seed(0)
    model = method.apply(nn.Sequential(nn.Linear(N, M, bias=False)))
    optimizer = method.optimizer(model)
    method.schedule(optimizer, 100)
    for update in range(2):
        optimizer.zero_grad()
        model(torch.randn(4, N)).square().mean().backward()
        method.hooks.before_step(model, optimizer, update)
        optimizer.step()
        method.hooks.after_step(model, optimizer, update)
        method.hooks.step_end(model, optimizer, update)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == trainable
    assert elements(optimizer) == expected
