import io
from importlib import import_module
from typing import Any

import pytest
import torch
from injected import INNER, KINDS, Matrices, T, made, train, wrapped
from torch import nn
from torch.optim import Optimizer

from lowrank_bench.optim.galore import GaLore


def reloaded(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("saved_at", [0, T - 1, T, T + 1])
@pytest.mark.parametrize("inner", ["adamw_hf", "adamw", "sgd"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(
    kind: str, inner: str, saved_at: int, dtype: torch.dtype
) -> None:
    through, first, second = (Matrices(dtype) for _ in range(3))
    train(through, made(kind, through, INNER[inner]), range(2 * T + 1))
    before = made(kind, first, INNER[inner])
    train(first, before, range(saved_at))
    saved = reloaded({"model": first.state_dict(), "optimizer": before.state_dict()})
    after = made(kind, second, INNER[inner])
    second.load_state_dict(saved["model"])
    after.load_state_dict(saved["optimizer"])
    train(second, after, range(saved_at, 2 * T + 1))
    for name, p in through.named_parameters():
        assert torch.equal(p, second.get_parameter(name)), name


@pytest.mark.reference
def test_eight_bit_moments_survive_a_checkpoint() -> None:
    adam8bit = import_module("bitsandbytes").optim.Adam8bit

    def inner(model: nn.Module) -> Optimizer:
        return adam8bit(list(model.parameters()), lr=0.02, min_8bit_size=8)

    through, first, second = (nn.Linear(64, 48, bias=False) for _ in range(3))
    settings = {"names": ["weight"], "rank": 16, "update_gap": 2, "alpha": 1.0}
    gradients = [torch.randn(48, 64) for _ in range(4)]

    def run(model: nn.Linear, optimizer: Optimizer, some: list[torch.Tensor]) -> None:
        for G in some:
            model.weight.grad = G.clone()
            optimizer.step()

    first.load_state_dict(through.state_dict())
    run(through, wrapped(GaLore, through, inner, **settings), gradients)
    before = wrapped(GaLore, first, inner, **settings)
    run(first, before, gradients[:3])
    assert before.state[first.weight]["state1"].dtype == torch.uint8
    after = wrapped(GaLore, second, inner, **settings)
    second.load_state_dict(first.state_dict())
    after.load_state_dict(reloaded(before.state_dict()))
    run(second, after, gradients[3:])
    assert torch.equal(through.weight, second.weight)
