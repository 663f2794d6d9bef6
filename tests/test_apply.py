"""A model that a method cannot be applied to is told so in one line, and no mode is changed."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lowrank_bench import load_method
from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.lora import LoRALinear


class Net(nn.Module):
    """Linear layers of several names, an embedding, and a head of two layers."""

    def __init__(self, shared: str = "") -> None:
        super().__init__()
        self.tokens, self.body, self.other = nn.Embedding(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.head = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
        if shared == "module":
            self.other = self.body
        if shared == "weight":
            self.body.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.body(self.tokens(ids)))


RECIPES = ("lora", "pissa", "dora", "adalora", "vera", "flora", "subspace", "lowrank", "sltrain")


def loss(model: nn.Module) -> Tensor:
    return model(torch.arange(8)).square().mean()


def refused(model: nn.Module, recipe: str = "lora", overrides: Sequence[str] = (), **more) -> str:
    with pytest.raises(ConfigError) as error:
        load_method(recipe, ["rank=2", *overrides]).apply(model, **more)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("recipe", [*RECIPES, "ia3"])
def test_a_method_is_applied_once(recipe: str) -> None:
    method = load_method(recipe, ["rank=2"])
    model = method.apply(Net())
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for again in (recipe, "full"):
        assert "adapted already ('body' is a " in refused(model, again)
    after = dict(model.named_parameters())
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("shared", ["module", "weight"])
@pytest.mark.parametrize("recipe", ["lora", "pissa", "subspace", "lowrank", "ia3"])
def test_a_target_that_shares_its_weight_is_refused_and_can_be_left_out(
    recipe: str, shared: str
) -> None:
    line = refused(Net(shared), recipe)
    twin = "other.weight" if shared == "module" else "tokens.weight"
    assert line.startswith("method.targets: 'body' shares its weight (")
    assert twin in line
    model = load_method(recipe, ["rank=2", "method.targets=[head.*]"]).apply(Net(shared))
    assert isinstance(model.body, nn.Linear)


def test_full_training_takes_shared_weights() -> None:
    assert load_method("full").apply(Net("weight")).tokens.weight.requires_grad


def test_a_model_that_is_one_layer_is_told_what_to_do() -> None:
    assert "put it into an nn.Sequential" in refused(nn.Linear(4, 4))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("recipe", [*RECIPES, "hira"])
def test_adapted_layers_stay_in_the_mode_of_the_model(recipe: str, training: bool) -> None:
    model = load_method(recipe, ["rank=2"]).apply(Net().train(training))
    assert {module.training for module in model.body.modules()} == {training}


def test_a_head_of_several_layers_trains_whole_where_it_is_not_adapted() -> None:
    method = load_method("lora", ["rank=2", "method.targets=[body,head.0]", "method.head=head"])
    model = method.apply(Net())
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        *("body.A", "body.B", "head.0.A", "head.0.B", "head.2.weight", "head.2.bias")
    }


def test_a_layer_without_a_gradient_to_begin_at_is_named() -> None:
    line = refused(Net(), "lora_ga", loss=loss)
    assert line.startswith("method.init=lora_ga: the loss does not depend on 'other'")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize(
    "init", ["zero_b", "gaussian", "orthogonal", "pissa", "milora", "olora", "lora_ga"]
)
def test_a_model_of_any_precision_can_be_started(init: str, dtype: torch.dtype) -> None:
    overrides = [f"method/init={init}", "method.targets=[body,head.*]", "method.adapter.alpha=2"]
    model = load_method("lora", ["rank=2", *overrides]).apply(Net().to(dtype), loss=loss)
    assert {p.dtype for p in model.parameters()} == {dtype}


def test_orthogonal_factors_of_half_precision_are_orthonormal_to_rounding() -> None:
    overrides = ["rank=2", "method/init=orthogonal", "method.targets=[body]"]
    A = load_method("lora", overrides).apply(Net().bfloat16()).body.A.detach().float()
    assert float((A @ A.T - torch.eye(2)).abs().max()) < 2**-6


@pytest.mark.parametrize(
    ("slot", "given", "line"),
    [
        ("adapter", "lora", "method.adapter=lora: is nothing that can be called; a file of"),
        ("init", 5, "method.init=5: is nothing that can be called"),
        ("adapter", {"rank": 4}, "method.adapter: has no _target_"),
        ("adapter", LoRALinear, "method.adapter._target_: LoRALinear is a layer; name LoRALin"),
        ("targets", None, "method.targets=null: must be given"),
        ("targets", [3], "method.targets=[3]: must be a list of globs"),
        ("name", None, "method.name=null: must be given"),
        ("adapter", lambda model, names: None, "method.adapter: returned NoneType; it must"),
        ("adapter", lambda model, names: nn.Linear(2, 2), "has no 'body'; the layers must keep"),
        ("nmae", "x", "method.nmae: there is no such slot; did you mean 'name'?"),
    ],
)
def test_a_slot_that_is_none_is_told_in_one_line(slot: str, given: Any, line: str) -> None:
    from dataclasses import fields

    from lowrank_bench.method import Method, Slots

    slots = load_method("lora", ["rank=2"]).slots
    given_slots = {each.name: getattr(slots, each.name) for each in fields(Slots)} | {slot: given}
    with pytest.raises(ConfigError) as error:
        Method(**given_slots).apply(Net())
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_a_slot_that_is_missing_is_named() -> None:
    from lowrank_bench.method import Method

    with pytest.raises(ConfigError, match=r"method\.targets: is missing; does the recipe inherit"):
        Method(name="mine")
