from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lowrank_bench.errors import ConfigError
from lowrank_bench.inits.rank_uniform import rank_uniform
from lowrank_bench.inits.zero_b import zero_b
from lowrank_bench.layers.factorised import FactorisedLinear
from lowrank_bench.layers.lora import LoRALinear
from lowrank_bench.method import Method
from lowrank_bench.optim.roles import check_cover

NAMES = ["first", "second", "head"]
FACTORISED = {"adapter": partial(FactorisedLinear.adapt, rank=2), "init": rank_uniform}
LORA = {"adapter": partial(LoRALinear.adapt, rank=2, alpha=4, dropout=0), "init": zero_b}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 3)
        self.norm = nn.LayerNorm(5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.second(self.norm(self.first(x)))))


def method(**slots: Any) -> Method:
    plain: dict[str, Any] = {
        "name": "toy",
        "targets": ["*"],
        "trainable": ["*"],
        "optimizer": partial(SGD, lr=0.1),
        "schedule": lambda optimizer, num_updates: LambdaLR(optimizer, lambda update: 1.0),
    }
    return Method(**(plain | slots))


def trainable(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def start_of(*targets: str, seed: int = 0, **slots: Any) -> dict[str, Tensor]:
    """The starting factors of a network whose own draws are always the same."""
    torch.manual_seed(0)
    model = method(targets=list(targets), seed=seed, **slots).apply(Net())
    return {name: p.detach().clone() for name, p in model.named_parameters()}


# Globs


@pytest.mark.parametrize(
    ("slot", "glob", "meant"),
    [("targets", "frist", "first"), ("trainable", "head.wieght", "head.weight")],
)
def test_a_glob_that_matches_nothing_raises_and_names_the_nearest(
    slot: str, glob: str, meant: str
) -> None:
    with pytest.raises(ConfigError) as error:
        method(**{slot: ["*", glob]}).apply(Net())
    line = str(error.value)
    assert line.startswith(f"method.{slot}: the glob '{glob}' matches nothing")
    assert f"did you mean '{meant}'?" in line


def test_targets_are_linear_layers_alone() -> None:
    with pytest.raises(ConfigError, match=r"'norm' matches nothing.*there is: first, head, second"):
        method(targets=["norm"]).apply(Net())


def test_only_the_targets_are_replaced() -> None:
    model = method(targets=["first", "sec*"], **FACTORISED).apply(Net())
    assert [type(model.get_submodule(name)).__name__ for name in NAMES] == [
        "FactorisedLinear",
        "FactorisedLinear",
        "Linear",
    ]


def test_exactly_what_is_named_trains_and_all_else_is_frozen() -> None:
    model = Net()
    model.head.weight.requires_grad_(False)  # whatever it was before
    adapted = method(targets=["first"], trainable=["*.A", "*.B", "head.*"], **LORA).apply(model)
    assert trainable(adapted) == {"first.A", "first.B", "head.weight", "head.bias"}


def test_what_an_adapter_adds_does_not_train_by_itself() -> None:
    adapted = method(trainable=["*.B"], **FACTORISED).apply(Net())
    assert trainable(adapted) == {"first.B", "second.B", "head.B"}


# The start


@pytest.mark.parametrize("slots", [FACTORISED, LORA], ids=["factorised", "lora"])
def test_the_start_is_a_function_of_the_seed(slots: dict[str, Any]) -> None:
    torch.manual_seed(99)
    once, again, other = (start_of("*", seed=seed, **slots) for seed in (3, 3, 4))
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert not any(torch.equal(once[f"{name}.A"], other[f"{name}.A"]) for name in NAMES)


def test_layers_of_one_shape_start_differently() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    method(**FACTORISED).apply(model)
    assert not torch.equal(model.get_parameter("0.A"), model.get_parameter("1.A"))


def test_a_layer_starts_the_same_whatever_other_layers_draw() -> None:
    alone, together = start_of("head", **FACTORISED), start_of("*", **FACTORISED)
    for factor in ("head.A", "head.B", "head.bias"):
        assert torch.equal(alone[factor], together[factor])


def test_the_start_neither_reads_nor_moves_the_global_generator() -> None:
    models = []
    for seed in (1, 2):
        model = Net()
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        models.append(method(**FACTORISED).apply(model))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(models[0].head.A, models[1].head.A)


def test_an_init_that_changes_what_an_adapted_layer_computes_is_refused() -> None:
    def shifts(layer: LoRALinear) -> None:
        nn.init.ones_(layer.A)
        nn.init.constant_(layer.B, 1e-3)

    with pytest.raises(ConfigError, match=r"method\.init=shifts: 'second' .*no longer computes"):
        method(targets=["second"], **(LORA | {"init": shifts})).apply(Net())


def test_an_init_that_fills_an_adapted_layer_with_nan_is_refused() -> None:
    def breaks(layer: LoRALinear) -> None:
        nn.init.constant_(layer.A, float("nan"))
        nn.init.zeros_(layer.B)

    with pytest.raises(ConfigError, match="no longer computes"):
        method(**(LORA | {"init": breaks})).apply(Net())


def test_an_init_may_move_weight_from_the_base_to_the_factors() -> None:
    def moves(layer: LoRALinear) -> None:
        nn.init.normal_(layer.A)
        nn.init.normal_(layer.B)
        layer.base.weight -= layer.scale * layer.B @ layer.A

    torch.manual_seed(0)
    model, x = Net(), torch.randn(9, 6)
    before = model(x)
    adapted = method(**(LORA | {"init": moves})).apply(model)
    torch.testing.assert_close(adapted(x), before, rtol=1e-4, atol=1e-5)


def test_an_adapted_model_computes_exactly_what_its_base_did() -> None:
    model, x = Net(), torch.randn(9, 6)
    before = model(x)
    assert torch.equal(method(**LORA).apply(model)(x), before)


# The optimizer


def test_the_optimizer_gets_what_trains_by_name_and_nothing_else() -> None:
    seen: list[tuple[str, str]] = []

    def remembers(groups: Any) -> Optimizer:
        seen.extend((group["role"], name) for group in groups for name, _ in group["params"])
        return SGD(groups, lr=0.1)

    toy = method(targets=["first"], trainable=["*.A", "*.B"], optimizer=remembers, **LORA)
    toy.optimizer(toy.apply(Net()))
    assert seen == [("lora_A", "first.A"), ("lora_B", "first.B")]


def test_torch_optimizers_take_what_trains() -> None:
    toy = method(**FACTORISED)
    model = toy.apply(Net())
    groups = toy.optimizer(model).param_groups
    assert {group["role"] for group in groups} == {"factor_A", "factor_B", "bias", "dense"}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def grouped(*names: str) -> Callable[[Any], Optimizer]:
    """One group for each set of space-separated names."""

    def build(by_role: Any) -> Optimizer:
        parameters = dict(pair for group in by_role for pair in group["params"])
        groups = [{"params": [parameters[name] for name in group.split()]} for group in names]
        optimizer = SGD(groups[:1], lr=0.1)
        optimizer.param_groups += [optimizer.param_groups[0] | group for group in groups[1:]]
        return optimizer

    return build


@pytest.mark.parametrize(
    ("groups", "complaint"),
    [
        (("head.weight head.bias", "head.bias"), "'head.bias' (bias) stands in 2 groups"),
        (("head.bias",), "'head.weight' (dense) stands in 0 groups"),
    ],
    ids=["twice", "missing"],
)
def test_every_trainable_parameter_must_stand_in_exactly_one_group(
    groups: Sequence[str], complaint: str
) -> None:
    toy = method(trainable=["head.*"], optimizer=grouped(*groups))
    with pytest.raises(ConfigError) as error:
        toy.optimizer(toy.apply(Net()))
    assert str(error.value).startswith(f"method.optimizer: {complaint}")


def test_groups_that_share_out_the_trainable_parameters_are_accepted() -> None:
    toy = method(trainable=["head.*"], optimizer=grouped("head.bias", "head.weight"))
    assert len(toy.optimizer(toy.apply(Net())).param_groups) == 2


def test_a_frozen_parameter_in_a_group_is_refused() -> None:
    model = method(trainable=["head.*"]).apply(Net())
    with pytest.raises(ConfigError, match=r"'first\.weight' \(dense\) stands in 1 groups"):
        check_cover(SGD(model.parameters(), lr=0.1), model)


def test_a_parameter_that_is_not_the_models_is_refused() -> None:
    model = method().apply(Net())
    stranger = nn.Parameter(torch.ones(1))
    with pytest.raises(ConfigError, match=r"method\.optimizer"):
        check_cover(SGD([*model.parameters(), stranger], lr=0.1), model)


def test_the_transform_stands_around_the_inner_rule() -> None:
    given: list[Any] = []
    outer = SGD([nn.Parameter(torch.ones(1))], lr=0.5)

    def wraps(optimizer: Optimizer, *rest: Any) -> Optimizer:
        given.extend((optimizer, *rest))
        return outer

    toy = method(transform=wraps, targets=["first", "head"], seed=7)
    model = toy.apply(Net())
    assert toy.optimizer(model) is outer
    inner, adapted, names, seed = given
    assert adapted is model
    assert names == ["first.weight", "first.bias", "head.weight", "head.bias"]
    assert seed == 7
    assert inner.param_groups[0]["lr"] == 0.1
