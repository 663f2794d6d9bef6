"""The contract of a method, for authors of variants to run over theirs.

    import pytest
    from lowrank_bench.testing import CLAUSES, Case

    @pytest.mark.parametrize("clause", CLAUSES)
    def test_my_idea_keeps_the_contract(clause):
        clause(Case("my_idea", config_dir="my_configs"))

A clause raises AssertionError, saying what does not hold.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lowrank_bench.door import assemble, compose_method
from lowrank_bench.layers.adapter import Adapter
from lowrank_bench.layers.layer import Layer
from lowrank_bench.method import Method
from lowrank_bench.optim.roles import check_cover

NUM_UPDATES = 12
RTOL, ATOL = 1e-4, 1e-5  # single precision, through a few layers


class Tower(nn.Module):
    """Three linear layers, wide, tall and square, and a head: 16 -> 8 -> 32 -> 32 -> 8."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.tall = nn.Linear(16, 8), nn.Linear(8, 32)
        self.square, self.head = nn.Linear(32, 32), nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.wide(x))  # (n, 8)
        x = F.relu(self.tall(x))  # (n, 32)
        return self.head(F.relu(self.square(x)))  # (n, 8)


@dataclass
class Case:
    """A recipe by its name, with what is to be overridden, on a small network."""

    recipe: str
    overrides: Sequence[str] = ()
    config_dir: str | Path | None = None
    seed: int = 0

    @cached_property
    def node(self) -> dict[str, Any]:
        overrides = ["rank=4", "lr=0.01", "method.head=head", *self.overrides]
        return compose_method(self.recipe, overrides, seed=self.seed, config_dir=self.config_dir)

    def method(self) -> Method:
        """A new one each time."""
        return assemble(self.node, self.seed)

    def base(self) -> nn.Module:
        """The same network every time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return Tower()

    def batch(self, update: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(update)
        x = torch.randn(24, 16, generator=generator)
        return x, torch.randint(8, (24,), generator=generator)

    def loss(self, model: nn.Module, update: int) -> Tensor:
        x, y = self.batch(update)
        return F.cross_entropy(model(x), y)

    def training(self) -> "Training":
        method = self.method()
        model = method.apply(self.base(), loss=lambda net: self.loss(net, 0))
        optimizer = method.optimizer(model)
        return Training(
            self, method, model, optimizer, method.schedule(optimizer, NUM_UPDATES), update=0
        )


@dataclass
class Training:
    """A method at work, in the order of the clock."""

    case: Case
    method: Method
    model: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    update: int

    def advance(self, num_updates: int) -> "Training":
        for _ in range(num_updates):
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.case.loss(self.model, self.update) + self.method.penalty(self.model)
            loss.backward()
            self.method.hooks.before_step(self.model, self.optimizer, self.update)
            self.optimizer.step()
            self.schedule.step()
            self.method.hooks.after_step(self.model, self.optimizer, self.update)
            self.method.hooks.step_end(self.model, self.optimizer, self.update)
            self.update += 1
        return self

    def layers(self) -> dict[str, Layer]:
        return {name: m for name, m in self.model.named_modules() if isinstance(m, Layer)}

    def state(self) -> dict[str, Any]:
        parts = {"model": self.model, "optimizer": self.optimizer, "schedule": self.schedule}
        return {name: part.state_dict() for name, part in parts.items()}

    def restore(self, state: dict[str, Any], update: int) -> "Training":
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.update = update
        return self


def start_equals_base(case: Case) -> None:
    """A model whose layers all keep their base computes at first what the base did."""
    training, base, (x, _) = case.training(), case.base(), case.batch(0)
    if not all(isinstance(layer, Adapter) for layer in training.layers().values()):
        return  # a layer without a base: its init is the experiment
    if training.method.slots.adapter is None and training.method.slots.init is not None:
        return  # a dense model drawn anew
    with torch.no_grad():
        drift = (training.model.eval()(x) - base(x)).abs().max() / base(x).abs().max()
    assert drift <= 1e-5, f"the first output lies {drift:.2g} from the base's"


def forward_equals_effective_weight(case: Case) -> None:
    """A layer computes what its effective weight and its bias do, before and after training."""
    training = case.training()
    for num_updates in (0, 3):
        training.advance(num_updates)
        for name, layer in training.layers().items():
            if layer.mergeable:
                x, bias = _inputs(layer), _bias(layer)
                with torch.no_grad():
                    dense = F.linear(x, layer.effective_weight(), bias)
                    _assert_close(layer.eval()(x), dense, f"'{name}' and its effective weight")


def merging_keeps_the_function(case: Case) -> None:
    """After `merge_` the base is the old effective weight, and the layer computes the same."""
    training = case.training().advance(3)
    for name, layer in training.layers().items():
        if isinstance(layer, Adapter) and layer.mergeable:
            with torch.no_grad():
                x, weight = _inputs(layer), layer.effective_weight().clone()
                before = layer.eval()(x)
                layer.merge_()
                _assert_close(layer.base.weight, weight, f"the merged base of '{name}'")
                _assert_close(layer(x), before, f"'{name}' before and after merging")


def only_what_trains_gets_gradients(case: Case) -> None:
    """Each trainable parameter gets a gradient and moves within a few updates; others never."""
    training = case.training()
    frozen = {
        name: p.detach().clone()
        for name, p in training.model.named_parameters()
        if not p.requires_grad
    }
    start = {n: p.detach().clone() for n, p in training.model.named_parameters() if p.requires_grad}
    training.advance(1)
    for name, parameter in training.model.named_parameters():
        if name in frozen:
            assert parameter.grad is None, f"'{name}' is frozen, but has a gradient"
            assert torch.equal(parameter, frozen[name]), f"'{name}' is frozen, but moved"
    training.advance(3)
    for name, parameter in training.model.named_parameters():
        if name in start:
            assert not torch.equal(parameter, start[name]), f"'{name}' trains, but never moved"


def roles_and_groups_cover(case: Case) -> None:
    """Every parameter of a layer has a role, and what trains stands in exactly one group."""
    training = case.training()
    for name, layer in training.layers().items():
        for own, _ in layer.named_parameters(recurse=False):
            assert own in layer.roles, f"'{name}.{own}' has no role"
    check_cover(training.optimizer, training.model)


def state_survives_a_checkpoint(case: Case) -> None:
    """Saved at any update and loaded by a new process, training goes on bit for bit."""
    whole = case.training()
    saved = []
    for _ in range(NUM_UPDATES):
        file = io.BytesIO()
        torch.save(whole.state(), file)
        saved.append(file)
        whole.advance(1)
    expected = dict(whole.model.state_dict())
    for update in range(1, NUM_UPDATES, 2):
        saved[update].seek(0)
        state = torch.load(saved[update], weights_only=True)
        resumed = case.training().restore(state, update).advance(NUM_UPDATES - update)
        for name, value in resumed.model.state_dict().items():
            assert torch.equal(value, expected[name]), f"'{name}' differs, resumed at {update}"


def randomness_is_derived(case: Case) -> None:
    """Whatever state the global generator is in, all that is drawn is the same: ranks agree."""
    states = []
    for disturbance in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(disturbance)
            training = case.training()
            for _ in range(NUM_UPDATES):
                torch.rand(disturbance)
                training.advance(1)
            states.append(training.model.state_dict())
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), f"'{name}' was drawn from the global generator"


CLAUSES: tuple[Callable[[Case], None], ...] = (
    start_equals_base,
    forward_equals_effective_weight,
    merging_keeps_the_function,
    only_what_trains_gets_gradients,
    roles_and_groups_cover,
    state_survives_a_checkpoint,
    randomness_is_derived,
)


def _inputs(layer: Any) -> Tensor:
    return torch.randn(5, layer.in_features, generator=torch.Generator().manual_seed(0))


def _bias(layer: Any) -> Tensor | None:
    """Of the layer itself, or of its base; `effective_bias()` where that moves too."""
    if hasattr(layer, "effective_bias"):
        return layer.effective_bias()
    return getattr(layer, "bias", None) if not hasattr(layer, "base") else layer.base.bias


def _assert_close(found: Tensor, expected: Tensor, what: str) -> None:
    torch.testing.assert_close(
        found, expected, rtol=RTOL, atol=ATOL, msg=lambda text: f"{what}: {text}"
    )
