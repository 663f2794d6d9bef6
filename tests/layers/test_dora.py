import copy
from math import sqrt

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowrank_bench.inits.pissa import pissa
from lowrank_bench.inits.zero_b import zero_b
from lowrank_bench.layers.dora import NARROW, DoRALinear

SHAPES = {"tall": (5, 9, 3), "wide": (40, 7, 3), "square": (24, 24, 2)}  # (in, out, rank)
INPUTS = {"two dimensions": (7,), "three dimensions": (2, 5)}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def started(
    in_features: int, out_features: int, rank: int, *, bias: bool = True, dropout: float = 0
) -> DoRALinear:
    """At its packaged start, in float64, so that only a wrong formula is beyond the tolerance."""
    base = nn.Linear(in_features, out_features, bias).requires_grad_(False)
    layer = DoRALinear(base, rank, alpha=4, dropout=dropout).double()
    zero_b(layer)
    layer.finish_start()
    return layer


def trained(*shape: int, **options: bool | float) -> DoRALinear:
    """With both factors other than zero, and magnitudes of both signs."""
    layer = started(*shape, **options)  # type: ignore[arg-type]
    nn.init.normal_(layer.B)
    nn.init.normal_(layer.magnitude)
    return layer


def grad_of(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def direction(layer: DoRALinear) -> Tensor:
    """V, formed."""
    return layer.base.weight + layer.scale * layer.B @ layer.A


def test_the_shapes_take_both_ways_to_the_norm() -> None:
    assert {i < NARROW * r for i, _, r in SHAPES.values()} == {True, False}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("leading", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward_is_that_of_the_formula_and_of_the_dense_effective_weight(
    shape: tuple[int, int, int], leading: tuple[int, ...], bias: bool
) -> None:
    layer = trained(*shape, bias=bias)
    x = torch.randn(*leading, shape[0], dtype=torch.float64)
    V = direction(layer)
    weight = layer.magnitude.diag() @ (V / V.norm(dim=1, keepdim=True))
    torch.testing.assert_close(layer(x), F.linear(x, weight, layer.base.bias))
    torch.testing.assert_close(layer.effective_weight(), weight)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_at_the_start_the_magnitude_is_the_norm_of_the_base_and_the_output_the_bases(
    shape: tuple[int, int, int],
) -> None:
    layer = started(*shape)
    x = torch.randn(7, shape[0], dtype=torch.float64)
    torch.testing.assert_close(layer.magnitude.detach(), layer.base.weight.norm(dim=1))
    torch.testing.assert_close(layer(x), layer.base(x))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_rows_of_the_effective_weight_have_the_norm_of_the_magnitude(
    shape: tuple[int, int, int],
) -> None:
    layer = trained(*shape)
    torch.testing.assert_close(layer.effective_weight().norm(dim=1), layer.magnitude.abs())


def test_the_change_of_the_weight_has_a_higher_rank_than_the_factors() -> None:
    layer = trained(24, 24, 2)
    assert torch.linalg.matrix_rank(layer.delta()) == 24


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_gradient_is_the_whole_ones_without_the_term_of_the_norm(
    shape: tuple[int, int, int],
) -> None:
    layer = trained(*shape)
    x = torch.randn(7, shape[0], dtype=torch.float64)
    layer(x).square().sum().backward()
    A, B, m = (p.detach().clone().requires_grad_() for p in (layer.A, layer.B, layer.magnitude))
    V = layer.base.weight + layer.scale * B @ A
    weight = (m / V.norm(dim=1)).unsqueeze(1) * V
    weight.retain_grad()
    F.linear(x, weight, layer.base.bias).square().sum().backward()
    torch.testing.assert_close(grad_of(layer.magnitude), grad_of(m))
    G, norm = grad_of(weight), V.detach().norm(dim=1, keepdim=True)
    unit = V.detach() / norm
    term = layer.magnitude.detach().unsqueeze(1) / norm * (G * unit).sum(1, keepdim=True) * unit
    assert term.norm() > 0.01 * G.norm()
    torch.testing.assert_close(grad_of(layer.B) - grad_of(B), layer.scale * term @ layer.A.T)
    torch.testing.assert_close(grad_of(layer.A) - grad_of(A), layer.scale * layer.B.T @ term)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_merging_leaves_the_output_and_a_start_around_the_merged_base(
    shape: tuple[int, int, int],
) -> None:
    layer = trained(*shape)
    nn.init.uniform_(layer.magnitude, 0.5, 2)
    x = torch.randn(7, shape[0], dtype=torch.float64)
    before = layer(x)
    layer.merge_()
    torch.testing.assert_close(layer.base(x), before)
    torch.testing.assert_close(layer(x), before)
    assert not layer.B.any()
    torch.testing.assert_close(layer.magnitude.detach(), layer.base.weight.norm(dim=1))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_resetting_leaves_the_base(shape: tuple[int, int, int]) -> None:
    layer = trained(*shape)
    base = layer.base.weight.clone()
    layer.reset_()
    x = torch.randn(7, shape[0], dtype=torch.float64)
    assert torch.equal(layer.base.weight, base)
    torch.testing.assert_close(layer(x), layer.base(x))


@torch.no_grad()
def changed_in_place(layer: DoRALinear) -> DoRALinear:
    layer.base.weight.mul_(3)
    return layer


def loaded(layer: DoRALinear) -> DoRALinear:
    layer.load_state_dict(trained(40, 7, 3).state_dict())
    return layer


def replaced(layer: DoRALinear) -> DoRALinear:
    layer.base.weight.data = 3 * layer.base.weight.data
    return layer


def copied_and_changed(layer: DoRALinear) -> DoRALinear:
    return changed_in_place(copy.deepcopy(layer))


def in_single_precision(layer: DoRALinear) -> DoRALinear:
    return layer.float()


@pytest.mark.parametrize(
    "change", [changed_in_place, loaded, replaced, copied_and_changed, in_single_precision]
)
def test_the_norm_follows_every_change_of_the_base(change) -> None:  # type: ignore[no-untyped-def]
    layer = trained(40, 7, 3)
    layer.row_norm()
    layer = change(layer)
    torch.testing.assert_close(layer.row_norm(), direction(layer).norm(dim=1).detach())


@pytest.mark.parametrize("size", [1e-6, 0.3, 1e3])
@pytest.mark.parametrize("opposed", [False, True])
@torch.no_grad()
def test_the_norm_is_as_exact_as_single_precision(size: float, opposed: bool) -> None:
    i, o, r = 64, 50, 8
    layer = DoRALinear(nn.Linear(i, o), r, alpha=16, dropout=0)
    assert i == NARROW * r  # the least favourable width
    nn.init.normal_(layer.A, std=1 / sqrt(i))
    nn.init.normal_(layer.B, std=size)
    if opposed:  # as much as rank r can take away from the base
        basis, _ = torch.linalg.qr(layer.A.T)
        layer.A.copy_(basis.T)
        layer.B.copy_(-layer.base.weight @ basis / layer.scale)
    exact = direction(layer.double()).norm(dim=1)
    norm = layer.float().row_norm()
    assert float((norm / exact - 1).abs().max()) < 1e-6


def test_a_base_of_zeros_starts_without_dividing_by_zero() -> None:
    layer = DoRALinear(nn.Linear(40, 7), 3, alpha=4, dropout=0)
    nn.init.zeros_(layer.base.weight)
    zero_b(layer)
    layer.finish_start()
    x = torch.randn(5, 40)
    assert torch.equal(layer(x), layer.base(x))
    layer(x).sum().backward()
    assert all(grad_of(p).isfinite().all() for p in (layer.A, layer.B, layer.magnitude))


def test_dropout_acts_on_the_correction_alone_and_only_in_training() -> None:
    layer = trained(6, 5, 2, dropout=0.5)
    x = torch.randn(7, 6, dtype=torch.float64)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    torch.testing.assert_close(layer(x), F.linear(x, layer.effective_weight(), layer.base.bias))
    layer.train().reset_()
    torch.testing.assert_close(layer(x), layer.base(x))


def test_the_norm_keeps_its_precision_under_autocast() -> None:
    layer = trained(40, 7, 3).float()
    exact = layer.row_norm()
    x = torch.randn(5, 40)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.row_norm(), exact)
        y = layer(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer(x), rtol=0.05, atol=0.05)


def test_the_norm_taken_in_inference_serves_training() -> None:
    layer = trained(40, 7, 3)
    x = torch.randn(5, 40, dtype=torch.float64)
    with torch.inference_mode():
        layer(x)
    layer(x).sum().backward()
    assert grad_of(layer.magnitude).all()


def test_it_composes_with_a_start_around_the_base() -> None:
    layer = started(40, 7, 3)
    x = torch.randn(5, 40, dtype=torch.float64)
    base, norm = layer.base(x), layer.base.weight.norm(dim=1)
    with torch.no_grad():
        pissa(layer)
        layer.finish_start()
    torch.testing.assert_close(layer(x), base)
    torch.testing.assert_close(layer.magnitude.detach(), norm)
    assert layer.B.any()


def test_it_adds_one_parameter_an_output_to_lora() -> None:
    layer = DoRALinear(nn.Linear(784, 512).requires_grad_(False), 8, 16, 0)
    assert sum(p.numel() for p in layer.parameters() if p.requires_grad) == 10_368 + 512
    assert {name: layer.roles[name] for name, _ in layer.named_parameters(recurse=False)} == {
        "A": "lora_A",
        "B": "lora_B",
        "magnitude": "magnitude",
    }
