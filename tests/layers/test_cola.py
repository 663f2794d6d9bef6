import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from lowrank_bench.errors import ConfigError
from lowrank_bench.inits.cola import cola
from lowrank_bench.inits.rank_uniform import rank_uniform
from lowrank_bench.layers.cola import CoLALinear
from lowrank_bench.layers.factorised import FactorisedLinear
from lowrank_bench.start import check_contract, start

SHAPES = {"tall": (5, 9, 3), "wide": (9, 5, 3), "square": (6, 6, 2)}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def drawn(i: int, o: int, r: int, *, activation: str = "silu", bias: bool = True) -> CoLALinear:
    layer = CoLALinear(i, o, r, activation, bias).double()
    with torch.no_grad():
        cola(layer)
    return layer


@pytest.mark.parametrize("leading", [(7,), (2, 5)])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_identity_makes_it_the_factorised_layer(
    shape: tuple[int, int, int], leading: tuple[int, ...]
) -> None:
    layer = drawn(*shape, activation="identity")
    plain = FactorisedLinear(*shape).double()
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(*leading, shape[0], dtype=torch.float64)
    assert torch.equal(layer(x), plain(x))
    for ours in (layer, plain):
        ours(x).square().sum().backward()
    for ours, theirs in zip(layer.parameters(), plain.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None
        assert torch.equal(ours.grad, theirs.grad)
    assert layer.mergeable
    assert torch.equal(layer.effective_weight(), plain.effective_weight())


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_activation_stands_between_the_factors(shape: tuple[int, int, int]) -> None:
    layer = drawn(*shape)
    x = torch.randn(7, shape[0], dtype=torch.float64)
    h = x @ layer.A.T
    assert layer.bias is not None
    torch.testing.assert_close(layer(x), (h * h.sigmoid()) @ layer.B.T + layer.bias)


@pytest.mark.parametrize(
    ("activation", "function"), [("relu", F.relu), ("gelu", F.gelu), ("tanh", torch.tanh)]
)
def test_other_activations_go_by_their_names(activation: str, function: object) -> None:
    layer = drawn(6, 5, 2, activation=activation)
    x = torch.randn(7, 6, dtype=torch.float64)
    expected = F.linear(function(F.linear(x, layer.A)), layer.B, layer.bias)  # type: ignore[operator]
    assert torch.equal(layer(x), expected)


def test_the_output_lies_in_a_space_of_r_dimensions() -> None:
    layer = drawn(20, 30, 3, bias=False)
    y = layer(torch.randn(50, 20, dtype=torch.float64))
    assert torch.linalg.matrix_rank(y) == 3


def test_it_is_no_linear_map() -> None:
    layer = drawn(20, 30, 3, bias=False)
    x = torch.randn(50, 20, dtype=torch.float64)
    assert not torch.allclose(layer(2 * x), 2 * layer(x))


def test_there_is_no_dense_weight_and_it_says_so() -> None:
    layer = drawn(6, 5, 2)
    assert not layer.mergeable
    with pytest.raises(TypeError, match="activation=silu has no dense weight"):
        layer.effective_weight()
    check_contract("head", layer)


def test_the_product_of_the_factors_has_the_published_variance() -> None:
    i, o, rank = 300, 200, 8
    squares = []
    for _ in range(20):
        layer = CoLALinear(i, o, rank, "identity")
        with torch.no_grad():
            cola(layer)
        squares.append(layer.effective_weight().square().mean().item())
    assert sum(squares) / len(squares) == pytest.approx(1 / (i + o), rel=0.05)
    assert layer.A.std().item() == pytest.approx((rank * (i + o)) ** -0.25, rel=0.1)
    assert layer.bias is not None
    assert 0.9 * o**-0.5 < layer.bias.abs().max() <= o**-0.5


def test_inits_of_factorised_layers_fit() -> None:
    layer = CoLALinear(9, 9, 4, "silu")
    start("0", layer, rank_uniform, seed=0)
    assert 0 < layer.A.abs().max() <= 0.5


def test_recomputing_the_hidden_values_gives_the_same_gradients() -> None:
    layer = drawn(6, 5, 2)
    x = torch.randn(7, 6, dtype=torch.float64)
    parameters = list(layer.parameters())
    plain = torch.autograd.grad(layer(x).square().sum(), parameters)
    output = checkpoint(layer, x, use_reentrant=False)
    again = torch.autograd.grad(output.square().sum(), parameters)
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_an_unknown_activation_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"method\.adapter\.activation=sillu: .*'silu'"):
        CoLALinear(4, 4, 2, "sillu")


def test_adapt_keeps_the_shape() -> None:
    model = nn.Sequential(nn.Linear(5, 6, bias=False))
    layer = CoLALinear.adapt(model, ["0"], rank=2, activation="silu")[0]  # type: ignore[index]
    assert (layer.in_features, layer.out_features, layer.bias) == (5, 6, None)
