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
from lowrank_bench.method import Method, check_cover

# Lightning's own, on a name of torch that it still uses.
lightning = pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning")

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
    model = method(targets=list(targets), **slots).apply(Net(), seed=seed)
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
        models.append(method(**FACTORISED).apply(model, seed=0))
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
    seen: list[str] = []

    def remembers(named: Any) -> Optimizer:
        named = list(named)
        seen.extend(name for name, _ in named)
        return SGD((parameter for _, parameter in named), lr=0.1)

    toy = method(targets=["first"], trainable=["*.A", "*.B"], optimizer=remembers, **LORA)
    toy.build_optimizer(toy.apply(Net()))
    assert seen == ["first.A", "first.B"]


def test_torch_optimizers_take_what_trains() -> None:
    toy = method(**FACTORISED)
    model = toy.apply(Net())
    [group] = toy.build_optimizer(model).param_groups
    assert len(group["params"]) == len(list(model.parameters()))


def grouped(*names: str) -> Callable[[Any], Optimizer]:
    """One group for each set of space-separated names."""

    def build(named: Any) -> Optimizer:
        parameters = dict(named)
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
        toy.build_optimizer(toy.apply(Net()))
    assert str(error.value).startswith(f"method.optimizer: {complaint}")


def test_groups_that_share_out_the_trainable_parameters_are_accepted() -> None:
    toy = method(trainable=["head.*"], optimizer=grouped("head.bias", "head.weight"))
    assert len(toy.build_optimizer(toy.apply(Net())).param_groups) == 2


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

    def wraps(optimizer: Optimizer, model: nn.Module) -> Optimizer:
        given.extend((optimizer, model))
        return Doubling(optimizer)

    toy = method(transform=wraps)
    model = toy.apply(Net())
    outer = toy.build_optimizer(model)
    assert isinstance(outer, Doubling)
    assert given == [outer.inner, model]
    assert type(outer.inner) is SGD


class Doubling(Optimizer):
    """Doubles every gradient before the inner rule sees it."""

    def __init__(self, inner: Optimizer) -> None:
        self.inner = inner
        super().__init__(inner.param_groups, inner.defaults)
        self.param_groups = inner.param_groups

    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad *= 2
        self.inner.step()
        return loss


# In a training


@lightning
class TestInTraining:
    def test_the_transform_moves_the_weights_as_it_says(self, fit: Callable[..., Any]) -> None:
        options = ("method=full", "method/optimizer=sgd", "epochs=1")
        doubled, _ = fit(*options, "lr=0.05", transform=lambda inner, model: Doubling(inner))
        plain, _ = fit(*options, "lr=0.1")
        for ours, theirs in zip(doubled.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs)

    def test_the_schedule_moves_the_rate_of_the_inner_rule(self, fit: Callable[..., Any]) -> None:
        options = ("method=full", "method/optimizer=sgd", "method/schedule=cosine", "epochs=1")
        doubled, rows = fit(*options, "lr=0.1", transform=lambda inner, model: Doubling(inner))
        assert doubled.trainer.optimizers[0].inner.param_groups[0]["lr"] == pytest.approx(0.01)
        assert rows[-1]["lr"] == pytest.approx(0.01)

    def test_the_penalty_is_added_to_the_loss(self, fit: Callable[..., Any]) -> None:
        _, rows = fit("method=full", "lr=1e-30", "epochs=1")
        _, penalised = fit(
            "method=full", "lr=1e-30", "epochs=1", penalty=lambda model: torch.tensor(2.0)
        )
        assert penalised[-1]["train_loss"] == pytest.approx(rows[-1]["train_loss"] + 2)
        assert penalised[-1]["val_loss"] == rows[-1]["val_loss"]  # no part of what is measured

    def test_the_penalty_sends_gradients(self, fit: Callable[..., Any]) -> None:
        def shrinks(model: nn.Module) -> Tensor:
            return 100 * sum((p.square().sum() for p in model.parameters()), torch.zeros(()))

        options = ("method=full", "method/optimizer=sgd", "lr=0.001", "epochs=1")
        plain, _ = fit(*options)
        shrunk, _ = fit(*options, penalty=shrinks)
        for small, large in zip(shrunk.parameters(), plain.parameters(), strict=True):
            assert small.norm() < 0.1 * large.norm()

    @pytest.mark.parametrize("block", [1, 16])
    def test_hooks_are_called_in_order_with_the_index_of_the_update(
        self, fit: Callable[..., Any], block: int
    ) -> None:
        events: list[tuple[str, str, int]] = []
        hooks = {"a": Watcher("a", events), "absent": None, "b": Watcher("b", events)}
        task, _ = fit("method=full", "epochs=2", block=block, hooks=hooks)
        assert task.update == 40
        assert events == [
            (moment, name, update)
            for update in range(40)
            for moment in ("before_step", "after_step", "step_end")
            for name in ("a", "b")
        ]

    def test_hooks_see_the_weights_and_rates_of_their_moment(self, fit: Callable[..., Any]) -> None:
        witness = Witness()
        schedule = "method/schedule=cosine"
        fit("method=full", "method/optimizer=sgd", schedule, "epochs=1", hooks={"w": witness})
        assert witness.seen == [
            f"{moment} {what}"
            for moment, what in [
                ("before_step", "gradient there, weight not yet moved, rate of this update"),
                ("after_step", "gradient there, weight moved, rate of the next update"),
                ("step_end", "gradient there, weight moved, rate of the next update"),
            ]
        ]


class Watcher:
    def __init__(self, name: str, events: list[tuple[str, str, int]]) -> None:
        self.name, self.events = name, events

    def before_step(self, model: nn.Module, optimizer: Any, update: int) -> None:
        assert optimizer.param_groups[0]["params"][0] is next(model.parameters())
        self.events.append(("before_step", self.name, update))

    def after_step(self, model: nn.Module, optimizer: Any, update: int) -> None:
        self.events.append(("after_step", self.name, update))

    def step_end(self, model: nn.Module, optimizer: Any, update: int) -> None:
        self.events.append(("step_end", self.name, update))


class Witness:
    """Describes what the hooks of one update see."""

    update = 5

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.weight, self.rate = torch.empty(0), 0.0

    def step_end(self, model: nn.Module, optimizer: Any, update: int) -> None:
        if update == self.update:
            self.describe("step_end", model, optimizer)
        self.weight = next(model.parameters()).detach().clone()
        self.rate = optimizer.param_groups[0]["lr"]  # of the next update

    def before_step(self, model: nn.Module, optimizer: Any, update: int) -> None:
        if update == self.update:
            self.describe("before_step", model, optimizer)

    def after_step(self, model: nn.Module, optimizer: Any, update: int) -> None:
        if update == self.update:
            self.describe("after_step", model, optimizer)

    def describe(self, moment: str, model: nn.Module, optimizer: Any) -> None:
        parameter = next(model.parameters())
        gradient = "there" if parameter.grad is not None and parameter.grad.any() else "gone"
        weight = "not yet moved" if torch.equal(parameter, self.weight) else "moved"
        rate = "this" if optimizer.param_groups[0]["lr"] == self.rate else "the next"
        self.seen.append(f"{moment} gradient {gradient}, weight {weight}, rate of {rate} update")
