import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.factorised import FactorisedLinear

SHAPES = {"tall": (5, 9, 3), "wide": (9, 5, 3), "square": (6, 6, 2), "over-ranked": (4, 3, 7)}
INPUTS = {"two dimensions": (7,), "three dimensions": (2, 5)}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def drawn(in_features: int, out_features: int, rank: int, bias: bool = True) -> FactorisedLinear:
    """In float64, so that only a wrong formula is beyond the tolerance."""
    layer = FactorisedLinear(in_features, out_features, rank, bias).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


def grad_of(parameter: Tensor | None) -> Tensor:
    assert parameter is not None
    assert parameter.grad is not None
    return parameter.grad


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("leading", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward_is_that_of_the_dense_effective_weight(
    shape: tuple[int, int, int], leading: tuple[int, ...], bias: bool
) -> None:
    layer = drawn(*shape, bias)
    x = torch.randn(*leading, shape[0], dtype=torch.float64)
    weight = layer.effective_weight()
    assert weight.shape == (shape[1], shape[0])
    torch.testing.assert_close(layer(x), F.linear(x, weight, layer.bias))
    assert layer(x).shape == (*leading, shape[1])


@pytest.mark.parametrize("leading", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_gradients_of_the_factors_are_those_through_the_dense_composition(
    shape: tuple[int, int, int], leading: tuple[int, ...]
) -> None:
    layer = drawn(*shape)
    x = torch.randn(*leading, shape[0], dtype=torch.float64)
    layer(x).square().sum().backward()
    weight = layer.effective_weight().detach().requires_grad_()
    assert layer.bias is not None
    F.linear(x, weight, layer.bias.detach()).square().sum().backward()
    through_weight = grad_of(weight)
    torch.testing.assert_close(grad_of(layer.B), through_weight @ layer.A.T)
    torch.testing.assert_close(grad_of(layer.A), layer.B.T @ through_weight)
    assert grad_of(layer.bias).abs().sum() > 0


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_effective_weight_has_at_most_the_rank_of_the_layer(
    shape: tuple[int, int, int],
) -> None:
    assert torch.linalg.matrix_rank(drawn(*shape).effective_weight()) == min(shape)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_an_autoencoder_with_the_same_weights_agrees_forwards_and_backwards(
    shape: tuple[int, int, int],
) -> None:
    in_features, out_features, rank = shape
    layer = drawn(*shape)
    first = nn.Linear(in_features, rank, bias=False).double()
    second = nn.Linear(rank, out_features).double()
    with torch.no_grad():
        first.weight.copy_(layer.A)
        second.weight.copy_(layer.B)
        assert layer.bias is not None
        second.bias.copy_(layer.bias)
    x = torch.randn(7, in_features, dtype=torch.float64, requires_grad=True)
    x_too = x.detach().clone().requires_grad_()
    ours, theirs = layer(x), nn.Sequential(first, second)(x_too)
    assert torch.equal(ours, theirs)
    ours.exp().sum().backward()
    theirs.exp().sum().backward()
    assert torch.equal(grad_of(layer.A), grad_of(first.weight))
    assert torch.equal(grad_of(layer.B), grad_of(second.weight))
    assert torch.equal(grad_of(layer.bias), grad_of(second.bias))
    assert torch.equal(grad_of(x), grad_of(x_too))


@pytest.mark.parametrize("rank", [0, -1, 2.0, "2", None])
def test_a_rank_that_is_no_positive_integer_is_refused(rank: object) -> None:
    with pytest.raises(ConfigError, match=rf"method\.adapter\.rank={rank}: .*positive integer"):
        FactorisedLinear(4, 4, rank)  # type: ignore[arg-type]


def test_adapt_replaces_the_named_layers_and_no_other() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.Sequential(nn.Linear(5, 6, bias=False)))
    kept = copy.deepcopy(model[0].state_dict())
    adapted = FactorisedLinear.adapt(model, ["1.0"], rank=2)
    assert adapted is model
    assert type(model[0]) is nn.Linear
    assert all(torch.equal(model[0].state_dict()[name], kept[name]) for name in kept)
    layer = model.get_submodule("1.0")
    assert isinstance(layer, FactorisedLinear)
    assert (layer.in_features, layer.out_features, layer.rank, layer.bias) == (5, 6, 2, None)


def test_a_replacement_keeps_the_type_of_the_weight_that_it_replaces() -> None:
    model = nn.Sequential(nn.Linear(4, 5).to(torch.bfloat16))
    layer = FactorisedLinear.adapt(model, ["0"], rank=2)
    assert {p.dtype for p in layer.parameters()} == {torch.bfloat16}
