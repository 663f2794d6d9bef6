"""What a layer may be told, and what an author's own layer gets for nothing."""

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.adapter import Adapter
from lowrank_bench.layers.factorised import FactorisedLinear
from lowrank_bench.layers.flora import FLoRABank
from lowrank_bench.layers.lora import LoRALinear
from lowrank_bench.layers.sltrain import SLTrainLinear
from lowrank_bench.layers.subspace import SubspaceLinear
from lowrank_bench.layers.svd import SVDLinear
from lowrank_bench.layers.vera import VeRALinear

LORA: dict[str, Any] = {"rank": 2, "alpha": 4, "dropout": 0}
SPARSE: dict[str, Any] = {"rank": 2, "alpha": 4, "density": 0.1}
BANK: dict[str, Any] = {"rank": 2, "num_adapters": 1, "form": "additive"}


class Renamed(FactorisedLinear):
    """Has everything of its parent's, `replacing` too."""


class Open(Adapter):
    """Takes whatever it is given, and cannot start again."""

    domain = "open"
    roles: ClassVar = {"v": "v"}

    def __init__(self, base: nn.Linear, first: int, **more: int) -> None:
        super().__init__(base)
        self.v, self.more = nn.Parameter(torch.ones(())), more

    def effective_weight(self) -> Tensor:
        return self.base.weight + self.v


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))


@pytest.mark.parametrize("value", ["abc", 0, -1, None, float("nan"), True])
@pytest.mark.parametrize(
    ("layer", "settings"),
    [
        (LoRALinear, LORA),
        (SVDLinear, LORA | {"rank_factor": 1.5}),
        (SLTrainLinear, SPARSE),
        (FLoRABank, BANK),
    ],
)
def test_an_alpha_that_is_no_positive_number_is_named(layer: Any, settings: Any, value) -> None:
    with pytest.raises(ConfigError, match=rf"method\.adapter\.alpha={value}: must be a positive"):
        layer.adapt(net(), ["0"], **settings | {"alpha": value})


@pytest.mark.parametrize(
    ("layer", "settings", "line"),
    [
        (LoRALinear, LORA | {"dropout": "abc"}, "method.adapter.dropout=abc: must lie in [0, 1)"),
        (LoRALinear, LORA | {"rank_stabilized": "maybe"}, "rank_stabilized=maybe: must be true"),
        (SLTrainLinear, SPARSE | {"density": "abc"}, "method.adapter.density=abc: must lie in"),
        (SVDLinear, LORA | {"rank_factor": "abc"}, "method.adapter.rank_factor=abc: must be"),
        (
            VeRALinear,
            {"rank": 2, "dropout": 0, "projection_seed": "abc"},
            "method.adapter.projection_seed=abc: must be a whole number",
        ),
        (Renamed, {}, "method.adapter.rank: is missing; Renamed needs it"),
        (Renamed, {"rank": 2, "rnak": 2}, "has no 'rnak'; did you mean 'rank'?"),
        (Open, {"second": 2}, "method.adapter.first: is missing; Open needs it"),
    ],
)
def test_a_setting_that_is_wrong_is_named(layer: Any, settings: Any, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        layer.adapt(net(), ["0"], **settings)
    assert line in str(error.value)


def test_a_layer_may_inherit_how_it_replaces_another() -> None:
    assert isinstance(Renamed.adapt(net(), ["0"], rank=2)[0], Renamed)  # type: ignore[index]


def test_a_layer_may_take_any_setting() -> None:
    model: Any = Open.adapt(net(), ["0"], first=1, second=2)
    assert model[0].more == {"second": 2}


def test_a_layer_that_cannot_start_again_refuses_to_merge_and_stays_as_it_was() -> None:
    layer = Open(nn.Linear(6, 5), 1)
    before = layer.base.weight.detach().clone()
    with pytest.raises(TypeError, match="Open cannot start again"):
        layer.merge_()
    assert torch.equal(layer.base.weight, before)


@pytest.mark.parametrize("projection", ["fastfood", "dense"])
def test_a_subspace_that_was_never_started_takes_the_projection_of_a_checkpoint(
    projection: str,
) -> None:
    first, second = (
        SubspaceLinear.adapt(net(), ["0", "1"], dimension=3, projection=projection)
        for _ in range(2)
    )
    with torch.no_grad():
        for seed, layer in enumerate(first.children()):
            assert isinstance(layer, SubspaceLinear)
            layer.draw(seed)
            layer.z.normal_()
    second.load_state_dict(first.state_dict())
    x = torch.randn(3, 6)
    assert torch.equal(first(x), second(x))
