"""Which adapters and inits take a convolution, and what the others say."""

from typing import Any, ClassVar

import pytest
import torch
from conv_net import Net
from torch import Tensor, nn

from lowrank_bench import load_method
from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.adapter import Adapter


@pytest.mark.parametrize(
    ("recipe", "what"),
    [
        ("dora", "DoRALinear"),
        ("adalora", "SVDLinear"),
        ("vera", "VeRALinear"),
        ("flora", "FLoRABank"),
        ("subspace", "SubspaceLinear"),
        ("lowrank", "FactorisedLinear"),
        ("sltrain", "SLTrainLinear"),
        ("cola", "CoLALinear"),
        ("loha", "lowrank_bench.peft_bridge.tuner.adapt"),
    ],
)
def test_an_adapter_for_linear_layers_is_named_with_the_convolution(recipe: str, what: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_method(recipe, ["rank=2"]).apply(net := Net())
    expected = f"method.adapter={what}: 'wide' is a convolution (Conv2d), and only LoRA acts on"
    assert str(error.value).startswith(expected)
    assert "\n" not in str(error.value)
    assert type(net.head) is nn.Linear  # nothing was replaced
    load_method(recipe, ["rank=2", "method.targets=[head]"]).apply(Net())


@pytest.mark.parametrize("init", ["pissa", "milora", "olora", "orthogonal"])
def test_an_init_for_linear_layers_is_named_with_the_convolution(init: str) -> None:
    method = load_method("lora", ["rank=2", f"method/init={init}"])
    with pytest.raises(ConfigError, match=rf"init={init}: starts .* but 'wide' is conv_adapter"):
        method.apply(Net())


def test_a_dense_init_does_not_draw_convolutions() -> None:
    method = load_method("full", ["method/init=torch_default"])
    with pytest.raises(ConfigError, match=r"starts .*dense.* but 'wide' is conv \(Conv2d\)"):
        method.apply(Net())


def test_a_kernel_that_is_not_square_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, (3, 1)))
    with pytest.raises(ConfigError, match=r"a kernel of 3 x 1 .* needs a square one; leave"):
        load_method("lora", ["rank=2"]).apply(model)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("rank=0", "rank=0"),
        ("method.adapter.alpha=-1", "method.adapter.alpha=-1"),
        ("method.adapter.dropout=1", "method.adapter.dropout=1"),
        ("method.adapter.rank_stabilized=1", "method.adapter.rank_stabilized=1"),
    ],
)
def test_settings_are_checked_as_loras(override: str, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        load_method("lora", ["method.targets=[wide]", override]).apply(Net())


def test_a_function_of_ones_own_may_say_that_it_takes_convolutions() -> None:
    class Bias(Adapter):
        domain = "bias"
        roles: ClassVar = {"b": "bias"}
        mergeable = False
        in_features, out_features = 18, 8  # type: ignore[assignment]

        def __init__(self, base: Any) -> None:
            super().__init__(base)
            self.b = nn.Parameter(torch.zeros(8, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return self.base(x) + self.b

    def adapt(model: Any, names: Any) -> nn.Module:
        model.wide = Bias(model.wide)
        return model

    def zeros(layer: Any) -> None:
        nn.init.zeros_(layer.b)

    lora = load_method("lora", ["rank=2", "method.targets=[wide]"])
    own = type(lora)(**(vars(lora.slots) | {"adapter": adapt, "init": zeros}))
    with pytest.raises(ConfigError, match=r"test_conv_targets\.adapt: 'wide' is a convolution"):
        own.apply(Net())
    adapt.convolutional = True  # type: ignore[attr-defined]
    assert type(own.apply(Net()).wide) is Bias


def test_globs_see_linear_layers_and_convolutions_alone() -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Conv1d(4, 4, 1), nn.Linear(4, 2))
    method = load_method("full")
    method.apply(net)
    assert method.targets == ["0", "3"]
