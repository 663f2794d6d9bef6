import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.inits.sltrain import random_subset, sltrain
from lowrank_bench.layers.sltrain import SLTrainLinear
from lowrank_bench.method import Method

SHAPES = {"tall": (5, 9, 3), "wide": (9, 5, 3), "square": (6, 6, 2)}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def started(i: int, o: int, rank: int, density: float = 0.3, bias: bool = True) -> SLTrainLinear:
    """In float64, so that only a wrong formula is beyond the tolerance."""
    layer = SLTrainLinear(i, o, rank, density, alpha=6, bias=bias).double()
    with torch.no_grad():
        sltrain(layer)
    return layer


def trained(*shape: int, bias: bool = True) -> SLTrainLinear:
    layer = started(*shape, bias=bias)
    nn.init.normal_(layer.B)
    return layer


def sparse_part(layer: SLTrainLinear) -> Tensor:
    """S (o, i), written out place by place."""
    dense = torch.zeros(layer.out_features, layer.in_features, dtype=layer.values.dtype)
    for place, value in zip(layer.index.tolist(), layer.values.tolist(), strict=True):
        dense[divmod(place, layer.in_features)] = value
    return dense


def grad_of(parameter: Tensor | None) -> Tensor:
    assert parameter is not None
    assert parameter.grad is not None
    return parameter.grad


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("leading", [(7,), (2, 5)])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_output_and_all_gradients_are_those_of_the_dense_composition(
    shape: tuple[int, int, int], leading: tuple[int, ...], bias: bool
) -> None:
    layer = trained(*shape, bias=bias)
    scale = 6 / shape[2]
    weight = (scale * layer.B @ layer.A + sparse_part(layer)).detach().requires_grad_()
    torch.testing.assert_close(layer.effective_weight(), weight)

    x = torch.randn(*leading, shape[0], dtype=torch.float64, requires_grad=True)
    y = layer(x)
    (from_layer,) = torch.autograd.grad(y.square().sum(), x, retain_graph=True)
    y.square().sum().backward()
    dense = F.linear(x, weight, layer.bias)
    torch.testing.assert_close(y, dense)
    G, from_dense = torch.autograd.grad(dense.square().sum(), (weight, x))
    torch.testing.assert_close(from_layer, from_dense)
    torch.testing.assert_close(grad_of(layer.B), scale * G @ layer.A.T)
    torch.testing.assert_close(grad_of(layer.A), scale * layer.B.T @ G)
    torch.testing.assert_close(grad_of(layer.values), G.flatten()[layer.index])
    if bias:
        torch.testing.assert_close(grad_of(layer.bias), (2 * y).reshape(-1, shape[1]).sum(0))


def test_autocast_computes_nearly_the_same() -> None:
    layer = trained(6, 5, 2).float()
    x = torch.randn(7, 6)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    y.float().square().sum().backward()
    torch.testing.assert_close(y.float(), layer(x), rtol=0.05, atol=0.05)
    assert grad_of(layer.values).dtype == torch.float32


def test_the_numerical_gradient_agrees() -> None:
    layer = trained(4, 3, 2)
    names = list(dict(layer.named_parameters()))

    def output(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), x)

    x = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(output, (x, *layer.parameters()))


def test_while_b_is_zero_a_gets_a_gradient_of_exactly_zero() -> None:
    layer = started(6, 5, 2)
    layer(torch.randn(7, 6, dtype=torch.float64)).square().sum().backward()
    assert not grad_of(layer.A).any()
    assert grad_of(layer.B).all()
    assert grad_of(layer.values).all()


def test_the_weight_has_a_spectrum_beyond_the_rank() -> None:
    layer = trained(40, 30, 2)
    values = torch.linalg.svdvals(layer.effective_weight())
    assert values[2] > 1e-3 * values[0]
    layer.values.data.zero_()
    assert torch.linalg.svdvals(layer.effective_weight())[2] < 1e-10 * values[0]


def test_the_places_are_sorted_unique_and_as_many_as_the_density_says() -> None:
    layer = started(784, 512, 8, density=0.03, bias=False)
    assert len(layer.index) == 12_042
    assert layer.index.dtype == torch.int64
    assert (layer.index.diff() > 0).all()
    assert layer.index.min() >= 0
    assert layer.index.max() < 784 * 512


def test_training_moves_the_values_and_never_the_places() -> None:
    layer = started(6, 5, 2)
    index, values = layer.index.clone(), layer.values.detach().clone()
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        layer(torch.randn(7, 6, dtype=torch.float64)).square().sum().backward()
        optimizer.step()
    assert torch.equal(layer.index, index)
    assert (layer.values != values).all()


def test_a_checkpoint_holds_the_places() -> None:
    layer, other = trained(6, 5, 2), trained(6, 5, 2)
    assert not torch.equal(layer.index, other.index)
    other.load_state_dict(copy.deepcopy(layer.state_dict()))
    x = torch.randn(7, 6, dtype=torch.float64)
    assert torch.equal(other(x), layer(x))


def test_the_seed_of_the_run_decides_the_places() -> None:
    def places(seed: int) -> list[Tensor]:
        model = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 20))
        method = Method(
            seed=seed,
            name="sltrain",
            targets=["*"],
            trainable=["*"],
            adapter=lambda model, names: SLTrainLinear.adapt(
                model, names, rank=2, density=0.1, alpha=1
            ),
            init=sltrain,
            optimizer=torch.optim.AdamW,
            schedule=lambda optimizer, _: optimizer,
        )
        return [m.index for m in method.apply(model).modules() if isinstance(m, SLTrainLinear)]

    first, again, other = places(1), places(1), places(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])


def test_states_and_trainable_elements_are_those_of_the_formula() -> None:
    layer = started(784, 512, 8, density=0.03, bias=False).float()
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.randn(2, 784)).sum().backward()
    optimizer.step()
    states = [v for s in optimizer.state.values() for k, v in s.items() if k != "step"]
    assert sum(p.numel() for p in layer.parameters()) == 22_410
    assert sum(state.numel() for state in states) == 44_820


def test_the_start_is_the_published_one() -> None:
    layer = SLTrainLinear(400, 300, 8, 0.03, alpha=16)
    sltrain(layer)
    assert not layer.B.any()
    for drawn, bound in ((layer.A, 1 / 20), (layer.values, 1 / 20), (layer.bias, 300**-0.5)):
        assert drawn is not None
        assert 0.95 * bound < drawn.abs().max() <= bound
    variance = layer.effective_weight().var().item()
    assert variance == pytest.approx(0.03 / (3 * 400), rel=0.1)


@pytest.mark.parametrize(("count", "k"), [(10, 0), (10, 3), (10, 5), (10, 8), (10, 10), (1, 1)])
def test_all_subsets_are_equally_likely(count: int, k: int) -> None:
    draws = 400
    times = torch.zeros(count)
    for _ in range(draws):
        subset = random_subset(count, k)
        assert len(subset) == k
        assert (subset.diff() > 0).all()
        times[subset] += 1
    # Each number is in with probability k / n; five standard deviations of a share of 400.
    assert (times / draws - k / count).abs().max() <= 5 * (0.25 / draws) ** 0.5


@pytest.mark.parametrize("density", [0, -0.1, 1.1, float("nan")])
def test_a_density_outside_its_range_is_refused(density: float) -> None:
    with pytest.raises(ConfigError, match=rf"method\.adapter\.density={density}"):
        SLTrainLinear(4, 4, 2, density, 1)


def test_adapt_keeps_the_shape_and_the_absence_of_a_bias() -> None:
    model = nn.Sequential(nn.Linear(5, 6, bias=False).to(torch.bfloat16))
    layer = SLTrainLinear.adapt(model, ["0"], rank=2, density=0.5, alpha=1)[0]  # type: ignore[index]
    assert (layer.in_features, layer.out_features, layer.bias) == (5, 6, None)
    assert layer.A.dtype == torch.bfloat16
    assert layer.index.dtype == torch.int64
