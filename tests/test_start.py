"""An adapted layer that is not one is told so in one line, before anything trains."""

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.inits.rank_uniform import rank_uniform
from lowrank_bench.inits.zero_b import zero_b
from lowrank_bench.layers.adapter import Adapter
from lowrank_bench.layers.factorised import FactorisedLinear
from lowrank_bench.layers.lora import LoRALinear
from lowrank_bench.start import start


class Shift(Adapter):
    """A complete adapter of one number for each output."""

    domain = "shift"
    roles: ClassVar = {"v": "shift"}

    def __init__(self, base: nn.Linear) -> None:
        super().__init__(base)
        self.v = nn.Parameter(torch.empty(base.out_features))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) * (1 + self.v)

    def effective_weight(self) -> Tensor:
        return self.base.weight * (1 + self.v[:, None])


class NoWeight(Shift):
    effective_weight = Adapter.effective_weight


class Transposed(Shift):
    def effective_weight(self) -> Tensor:
        return self.base.weight.T


class NoRole(Shift):
    roles: ClassVar = {}


class NarrowOutput(Shift):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[..., :-1]


class NoDomain(nn.Module):
    in_features, out_features = 6, 4


def zeros(layer: Shift) -> None:
    nn.init.zeros_(layer.v)


def no_bias() -> nn.Linear:
    return nn.Linear(6, 4, bias=False)


def test_a_complete_layer_is_accepted_and_remembers_its_drift() -> None:
    layer = Shift(nn.Linear(6, 4))
    start("here", layer, zeros, seed=0)
    assert layer.start_drift == 0


@pytest.mark.parametrize(
    ("layer", "line"),
    [
        (NoWeight, "method.adapter: NoWeight at 'here' has no effective_weight(); give"),
        (
            Transposed,
            "Transposed at 'here': effective_weight() is (6, 4), must be (4, 6) (out, in)",
        ),
        (NoRole, "method.adapter: NoRole at 'here' gives its parameter 'v' no role; add it"),
        (NarrowOutput, "NarrowOutput at 'here' gives (8, 3) where its base gave (8, 4)"),
    ],
)
def test_what_a_layer_lacks_is_told_in_one_line(layer: type[Shift], line: str) -> None:
    with pytest.raises(ConfigError) as error:
        start("here", layer(nn.Linear(6, 4)), zeros, seed=0)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_a_module_that_is_no_layer_is_told_what_to_inherit() -> None:
    with pytest.raises(ConfigError, match=r"NoDomain at 'here' has no `domain`; inherit"):
        start("here", NoDomain(), zeros, seed=0)


def test_a_layer_without_an_init_stays_empty_and_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"method\.init=null: nothing would fill 'here' \(shift"):
        start("here", Shift(nn.Linear(6, 4)), None, seed=0)


@pytest.mark.parametrize(
    ("init", "layer", "line"),
    [
        (zero_b, FactorisedLinear(6, 4, 2), r"init=zero_b: starts adapter .* factorised \(Fact"),
        (rank_uniform, LoRALinear(no_bias(), 2, 4, 0), r"init=rank_uniform: .* adapter \(LoRAL"),
    ],
)
def test_an_illegal_pair_names_both(init, layer: nn.Module, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        start("here", layer, init, seed=0)


def test_the_check_of_the_start_leaves_no_trace() -> None:
    layer = Shift(nn.Linear(6, 4)).train()
    before = torch.get_rng_state()
    start("here", layer, zeros, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert layer.training
    assert all(parameter.grad is None for parameter in layer.parameters())
