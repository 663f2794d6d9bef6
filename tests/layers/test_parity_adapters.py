"""Each adapter of the LoRA family beside the public implementation of it, on the same tensors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import loralib
import pytest
import torch
from peft import LoraConfig, VeraConfig, get_peft_model
from torch import Tensor, nn

from lowrank_bench.inits.gaussian import gaussian
from lowrank_bench.inits.olora import olora
from lowrank_bench.inits.pissa import pissa
from lowrank_bench.layers.dora import DoRALinear
from lowrank_bench.layers.lora import LoRALinear
from lowrank_bench.layers.vera import VeRALinear

pytestmark = pytest.mark.reference

# (in, out); DoRA forms the sum for the norm in the first alone.
SHAPES = {"tall": (12, 40), "wide": (40, 12), "square": (24, 24)}
RANK, ALPHA, STEPS = 3, 5, 11
CLOSE = 1e-5  # in relation to the norm of what is compared


@dataclass
class Pair:
    ours: Any
    theirs: nn.Module  # a module that computes the same
    parameters: dict[str, tuple[nn.Parameter, nn.Parameter]]  # (ours, theirs), the same values


def linear(shape: tuple[int, int]) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(*shape)


def with_peft(shape: tuple[int, int], config: Any) -> tuple[nn.Module, Any]:
    model = get_peft_model(nn.Sequential(linear(shape)), config)  # type: ignore[arg-type]
    return model, model.base_model.model[0]  # type: ignore[index, union-attr]


def lora_config(**settings: Any) -> LoraConfig:
    return LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0, target_modules=["0"], **settings)


def matched(ours: Any, theirs: nn.Module, parameters: dict[str, tuple[Any, Any]]) -> Pair:
    """Give both the same values other than zero."""
    torch.manual_seed(1)
    ours.base.requires_grad_(False)
    for name, (own, their) in parameters.items():
        with torch.no_grad():
            if name == "magnitude":
                own.uniform_(0.5, 1.5)
            else:
                own.normal_(std=0.3)
            their.copy_(own)
    return Pair(ours, theirs, parameters)


def lora(shape: tuple[int, int], ours: type[LoRALinear] = LoRALinear, **settings: Any) -> Pair:
    stabilized = settings.get("use_rslora", False)
    own = ours(linear(shape), RANK, ALPHA, 0, stabilized)
    model, layer = with_peft(shape, lora_config(**settings))
    assert own.scale == layer.scaling["default"]
    parameters = {
        "A": (own.A, layer.lora_A["default"].weight),
        "B": (own.B, layer.lora_B["default"].weight),
    }
    if isinstance(own, DoRALinear):
        theirs = layer.lora_magnitude_vector["default"].weight
        parameters["magnitude"] = (own.magnitude, theirs)
    return matched(own, model, parameters)


def rslora(shape: tuple[int, int]) -> Pair:
    return lora(shape, use_rslora=True)


def dora(shape: tuple[int, int]) -> Pair:
    return lora(shape, DoRALinear, use_dora=True)


def pissas(shape: tuple[int, int]) -> Pair:
    """Each around its own residual, at its own start but for the signs of its factors."""
    own = LoRALinear(linear(shape).requires_grad_(False), RANK, ALPHA, 0)
    with torch.no_grad():
        pissa(own)
    model, layer = with_peft(shape, lora_config(init_lora_weights="pissa"))
    theirs = {"A": layer.lora_A["default"].weight, "B": layer.lora_B["default"].weight}
    with torch.no_grad():
        for name, their in theirs.items():
            their.copy_(getattr(own, name))
    return Pair(own, model, {name: (getattr(own, name), their) for name, their in theirs.items()})


def vera(shape: tuple[int, int]) -> Pair:
    own = VeRALinear.replacing(linear(shape), rank=RANK, dropout=0, projection_seed=0)
    config = VeraConfig(r=RANK, target_modules=["0"], projection_prng_key=0, vera_dropout=0)
    model, layer = with_peft(shape, config)
    parameters = {
        "lambda_b": (own.lambda_b, layer.vera_lambda_b["default"]),
        "lambda_d": (own.lambda_d, layer.vera_lambda_d["default"]),
    }
    return matched(own, model, parameters)


def loralibs(shape: tuple[int, int]) -> Pair:
    own = LoRALinear(linear(shape), RANK, ALPHA, 0)
    theirs = loralib.Linear(*shape, r=RANK, lora_alpha=ALPHA, lora_dropout=0, merge_weights=False)
    with torch.no_grad():
        theirs.weight.copy_(own.base.weight)
        theirs.bias.copy_(own.base.bias)
    parameters = {"A": (own.A, theirs.lora_A), "B": (own.B, theirs.lora_B)}
    return matched(own, theirs, parameters)


PAIRS: dict[str, Callable[[tuple[int, int]], Pair]] = {
    "lora": lora,
    "lora of loralib": loralibs,
    "rslora": rslora,
    "dora": dora,
    "pissa": pissas,
    "vera": vera,
}


def far(ours: Tensor | None, theirs: Tensor | None) -> float:
    assert ours is not None
    assert theirs is not None
    assert theirs.any()
    return float((ours - theirs).detach().norm() / theirs.detach().norm())


def each_pair(test: Any) -> Any:
    shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
    return pytest.mark.parametrize("make", PAIRS.values(), ids=PAIRS)(shapes(test))


@each_pair
def test_output_and_every_gradient_are_the_references(
    make: Callable[..., Pair], shape: tuple[int, int]
) -> None:
    pair = make(shape)
    x = torch.randn(2, 5, pair.ours.in_features, requires_grad=True)
    x_too = x.detach().clone().requires_grad_()
    ours, theirs = pair.ours(x), pair.theirs(x_too)
    assert far(ours, theirs) <= CLOSE
    direction = torch.randn_like(theirs)
    ours.backward(direction)
    theirs.backward(direction)
    assert far(x.grad, x_too.grad) <= CLOSE
    for name, (own, their) in pair.parameters.items():
        assert far(own.grad, their.grad) <= CLOSE, name


@each_pair
@pytest.mark.parametrize("weight_decay", [0, 0.1])
def test_training_takes_the_references_way(
    make: Callable[..., Pair], shape: tuple[int, int], weight_decay: float
) -> None:
    pair = make(shape)
    sides = [[own for own, _ in pair.parameters.values()]]
    sides += [[their for _, their in pair.parameters.values()]]
    optimizers = [torch.optim.AdamW(side, lr=0.02, weight_decay=weight_decay) for side in sides]
    before = [own.detach().clone() for own in sides[0]]
    for step in range(STEPS):
        x = torch.randn(16, pair.ours.in_features)
        target = torch.randn(16, pair.ours.out_features)
        for module, optimizer in zip((pair.ours, pair.theirs), optimizers, strict=True):
            optimizer.zero_grad()
            (module(x) - target).square().mean().backward()
            optimizer.step()
        for name, (own, their) in pair.parameters.items():
            assert far(own, their) <= CLOSE, f"{name} after step {step}"
        assert far(pair.ours(x), pair.theirs(x)) <= CLOSE
    for own, began in zip(sides[0], before, strict=True):
        assert far(own, began) > 0.05


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("make", [lora, rslora, dora, vera])
def test_the_effective_weight_is_what_peft_merges(
    make: Callable[..., Pair], shape: tuple[int, int]
) -> None:
    pair = make(shape)
    merged = pair.theirs.merge_and_unload()  # type: ignore[operator]
    assert far(pair.ours.effective_weight(), merged[0].weight) <= CLOSE


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_magnitude_starts_where_pefts_does(shape: tuple[int, int]) -> None:
    own = DoRALinear(linear(shape), RANK, ALPHA, 0)
    gaussian(own)
    own.finish_start()
    _, layer = with_peft(shape, lora_config(use_dora=True))
    assert far(own.magnitude, layer.lora_magnitude_vector["default"].weight) <= CLOSE


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("init", [pissa, olora])
def test_product_and_residual_of_a_start_around_the_base_are_pefts(
    init: Callable[[LoRALinear], None], shape: tuple[int, int]
) -> None:
    own = LoRALinear(linear(shape).requires_grad_(False), RANK, ALPHA, 0)
    with torch.no_grad():
        init(own)
    _, layer = with_peft(shape, lora_config(init_lora_weights=init.__name__))
    product = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    assert far(own.B @ own.A, product) <= CLOSE
    assert far(own.base.weight, layer.base_layer.weight) <= CLOSE


def test_the_gaussian_start_is_pefts_draw() -> None:
    own = LoRALinear(linear((24, 24)), RANK, ALPHA, 0)
    _, layer = with_peft((24, 24), lora_config())
    torch.manual_seed(0)
    gaussian(own)
    torch.manual_seed(0)
    layer.reset_lora_parameters("default", "gaussian")
    assert torch.equal(own.A, layer.lora_A["default"].weight)
    assert torch.equal(own.B, layer.lora_B["default"].weight)


@pytest.mark.parametrize("seed", [0, 3])
def test_the_shared_factors_of_vera_are_pefts_to_the_bit(seed: int) -> None:
    def model() -> nn.Sequential:
        return nn.Sequential(nn.Linear(7, 30), nn.Linear(30, 5), nn.Linear(5, 40))

    own: Any = VeRALinear.adapt(
        model(), ["0", "1", "2"], rank=RANK, dropout=0, projection_seed=seed
    )
    config = VeraConfig(r=RANK, target_modules=["0", "1", "2"], projection_prng_key=seed)
    theirs: Any = get_peft_model(model(), config)  # type: ignore[arg-type]
    assert torch.equal(own[0].projection.A, theirs.base_model.vera_A["default"])
    assert torch.equal(own[0].projection.B, theirs.base_model.vera_B["default"])
