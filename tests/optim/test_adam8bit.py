import sys
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from lowrank_bench.door import load_method
from lowrank_bench.errors import ConfigError
from lowrank_bench.optim.adam8bit import adam8bit
from lowrank_bench.optim.roles import groups_by_role
from lowrank_bench.testing import Case, Tower, state_survives_a_checkpoint

SETTINGS: dict[str, Any] = {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1}
EIGHT_BIT = ["method/optimizer=adam8bit", "method.optimizer.min_8bit_size=64"]


@pytest.mark.parametrize("shape", [(128, 64), (64, 128), (96, 96)])
def test_it_moves_like_adamw_to_the_precision_of_8_bits(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    ours, theirs = (nn.Linear(*shape, bias=False) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    start = theirs.weight.detach().clone()
    one = adam8bit(groups_by_role(ours), min_8bit_size=4096, **SETTINGS)
    other = AdamW(theirs.parameters(), **SETTINGS)
    for _ in range(10):
        ours.weight.grad = torch.randn_like(ours.weight)
        theirs.weight.grad = ours.weight.grad.clone()
        one.step()
        other.step()
    off = (ours.weight - theirs.weight).norm() / (theirs.weight - start).norm()
    assert 0 < off < 0.05


def test_the_moments_take_one_byte_an_element() -> None:
    training = Case("full", EIGHT_BIT).training().advance(1)
    for p in training.model.parameters():
        state = training.optimizer.state[p]
        assert state["state1"].dtype == (torch.uint8 if p.numel() >= 64 else torch.float32)
        assert state["state1"].shape == state["state2"].shape == p.shape


@pytest.mark.parametrize("recipe", ["full", "lora"])
def test_a_resumed_run_equals_one_that_was_not(recipe: str) -> None:
    state_survives_a_checkpoint(Case(recipe, EIGHT_BIT))


@pytest.mark.parametrize("recipe", ["lora_plus", "lora_fa"])
def test_it_may_stand_inside_of_a_wrapper(recipe: str) -> None:
    """Whose checkpoints are then the rule's own: torch's would cast the bytes."""
    inner = "method/optimizer@method.optimizer.inner=adam8bit"
    size = "method.optimizer.inner.min_8bit_size=64"
    case = Case(recipe, [inner, size] if recipe == "lora_plus" else EIGHT_BIT)
    training = case.training().advance(1)
    kinds = {s["state1"].dtype for s in training.optimizer.state.values()}
    assert torch.uint8 in kinds
    state_survives_a_checkpoint(case)


def test_a_missing_package_is_one_line_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim.adamw", None)
    method = load_method("full", ["method/optimizer=adam8bit"])
    with pytest.raises(ConfigError, match=r"adam8bit: .*pip install lowrank-bench\[adam8bit\]"):
        method.optimizer(method.apply(Tower()))
