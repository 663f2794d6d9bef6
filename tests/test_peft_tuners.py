from collections.abc import Callable
from functools import partial
from typing import Any

import peft
import pytest
import torch
from peft_runs import (
    ACT,
    ADAPT,
    DO_NOT,
    MOVES_THE_START,
    NAMES,
    NOT_LINEAR,
    Run,
    bridged,
    net,
)
from torch import nn

from lowrank_bench.callbacks.starts import dense_weights
from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.lora import LoRALinear
from lowrank_bench.peft_bridge import adapt
from lowrank_bench.roles import role_of
from lowrank_bench.start import DRIFT

pytestmark = pytest.mark.reference


def test_there_are_tuners_of_both_kinds() -> None:
    assert {"LoraConfig", "AdaLoraConfig", "LoHaConfig", "OFTConfig", "VeraConfig"} <= set(ACT)
    assert {"PromptTuningConfig", "PrefixTuningConfig", "XLoraConfig"} <= set(DO_NOT)


@pytest.mark.parametrize("name", ACT)
def test_each_tuner_adapts_trains_and_resumes(name: str) -> None:
    run = Run(bridged(name), 6)
    model = run.model
    assert type(model) is nn.Sequential
    for target in NAMES:
        layer = model.get_submodule(target)
        assert type(layer) is not nn.Linear
        assert layer.mergeable is (name not in NOT_LINEAR)
        assert (layer.start_drift <= DRIFT) is (name not in MOVES_THE_START)  # type: ignore
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert not any(n.endswith(("base_layer.weight", "base_layer.bias")) for n in trained)
    for n in trained:  # the role is what the tuner calls the part of its layer
        assert role_of(model, n) == n.split(".")[1]
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    state = run.advance(3).state()
    moved = {role_of(model, n) for n, p in model.named_parameters() if not p.equal(before[n])}
    assert moved == {role_of(model, n) for n in trained}
    once = run.advance(3).model.state_dict()
    again = Run(bridged(name), 6).resume(state, 3).advance(3).model.state_dict()
    assert all(torch.equal(once[key], again[key]) for key in once)


@pytest.mark.parametrize("name", [name for name in ACT if name not in NOT_LINEAR])
def test_the_dense_weight_computes_what_the_layer_does(name: str) -> None:
    model = Run(bridged(name), 6).advance(5).model.eval()
    x = torch.randn(9, 8)
    weights = dense_weights(model)
    assert list(weights) == NAMES
    layer = model.get_submodule("0")
    with torch.no_grad():
        difference = layer(x) - x @ weights["0"].T  # the bias, whatever the tuner did to it
    torch.testing.assert_close(difference, difference[:1].expand_as(difference))
    before = model(x)
    layer.merge_()  # type: ignore[operator]
    torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", DO_NOT)
def test_what_does_not_act_on_linear_layers_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{ADAPT}\._target_=peft\.{name}: .*not|none"):
        bridged(name).apply(net())


def test_a_layer_that_looks_at_all_rows_has_no_dense_weight() -> None:
    layer: Any = bridged("LilyConfig").apply(net()).get_submodule("0")
    for act in (layer.effective_weight, layer.merge_):
        with pytest.raises(TypeError, match="no dense weight"):
            act()


# LoRA, against our own


def test_the_lora_of_peft_computes_and_learns_as_ours() -> None:
    theirs, ours = nn.Linear(6, 5), nn.Linear(6, 5)
    ours.load_state_dict(theirs.state_dict())
    model = adapt(
        nn.Sequential(theirs), ["0"], config=partial(peft.LoraConfig, lora_alpha=6), rank=3
    )
    layer: Any = model.get_submodule("0")
    mine = LoRALinear(ours, 3, alpha=6, dropout=0)
    A, B = torch.randn(3, 6), torch.randn(5, 3)
    with torch.no_grad():
        for factor, value in ((layer.lora_A, A), (layer.lora_B, B)):
            factor["default"].weight.copy_(value)
        mine.A.copy_(A)
        mine.B.copy_(B)
    x = torch.randn(7, 6)
    torch.testing.assert_close(layer(x), mine(x))
    torch.testing.assert_close(layer.effective_weight(), mine.effective_weight().detach())
    for output in (layer(x), mine(x)):
        output.square().sum().backward()
    torch.testing.assert_close(layer.lora_A["default"].weight.grad, mine.A.grad)
    torch.testing.assert_close(layer.lora_B["default"].weight.grad, mine.B.grad)


# Runs


@pytest.mark.parametrize("recipe", ["loha", "lokr", "oft", "boft", "ia3", "randlora", "hira"])
def test_each_recipe_of_peft_trains_in_a_run(fit: Callable[..., Any], recipe: str) -> None:
    task, rows = fit(f"method={recipe}")
    assert task.update == 40
    assert any("val_loss" in row for row in rows)
    before = {n: p for n, p in task.model.named_parameters() if p.requires_grad}
    assert all(p.grad is not None and p.grad.any() for p in before.values())
