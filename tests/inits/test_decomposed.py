"""Inits that decompose something: the weight, its gradient, or a dense draw."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.inits.decompose import signed_svd
from lowrank_bench.inits.lora_ga import lora_ga
from lowrank_bench.inits.milora import milora
from lowrank_bench.inits.olora import olora
from lowrank_bench.inits.orthogonal import orthogonal
from lowrank_bench.inits.pissa import pissa
from lowrank_bench.inits.spectral import spectral
from lowrank_bench.layers.factorised import FactorisedLinear
from lowrank_bench.layers.lora import LoRALinear

SHAPES = {"tall": (20, 30), "wide": (30, 20), "square": (24, 24)}  # (in, out)
RANK = 4
GAMMA = 16.0


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def each_shape(test: Any) -> Any:
    return pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)(test)


def adapter(shape: tuple[int, int], rank: int = RANK) -> LoRALinear:
    """Empty factors at a scale of 4/3, in double precision."""
    base = nn.Linear(*shape).requires_grad_(False)
    return LoRALinear(base, rank, alpha=rank * 4 / 3, dropout=0).double()


def started(init: Callable[..., None], layer: Any, **needs: Any) -> tuple[Any, Tensor]:
    """The layer, and the weight that its base had."""
    weight = layer.base.weight.detach().clone()
    with torch.no_grad():
        init(layer, **needs)
    torch.testing.assert_close(layer.effective_weight().detach(), weight)
    return layer, weight


def with_gradient(layer: LoRALinear, **needs: Any) -> None:
    shape = (layer.out_features, layer.in_features)
    lora_ga(layer, gradient=torch.randn(shape, dtype=torch.float64), gamma=GAMMA, **needs)


@each_shape
@pytest.mark.parametrize("minor", [False, True])
def test_pissa_takes_the_largest_singular_values_and_milora_the_smallest(
    shape: tuple[int, int], minor: bool
) -> None:
    layer, weight = started(milora if minor else pissa, adapter(shape))
    S = torch.linalg.svdvals(weight)
    taken, left = (S[-RANK:], S[:-RANK]) if minor else (S[:RANK], S[RANK:])
    expected = taken.diag() / layer.scale
    torch.testing.assert_close((layer.A @ layer.A.T).detach(), expected)
    torch.testing.assert_close((layer.B.T @ layer.B).detach(), expected)
    remaining = torch.linalg.svdvals(layer.base.weight)
    torch.testing.assert_close(remaining[: len(left)], left)
    assert torch.linalg.matrix_rank(layer.base.weight) == min(shape) - RANK


@each_shape
def test_olora_takes_an_orthonormal_basis_and_the_triangle_above_it(
    shape: tuple[int, int],
) -> None:
    layer, weight = started(olora, adapter(shape))
    torch.testing.assert_close((layer.B.T @ layer.B).detach(), torch.eye(RANK).double())
    torch.testing.assert_close(layer.A.detach(), layer.A.detach().triu())
    assert (layer.A.diagonal() > 0).all()
    torch.testing.assert_close((layer.B @ layer.A).detach()[:, :RANK], weight[:, :RANK])


@each_shape
@pytest.mark.parametrize("init", [pissa, milora, olora, with_gradient])
def test_both_factors_get_a_gradient_from_the_first_step(
    init: Callable[..., None], shape: tuple[int, int]
) -> None:
    layer, _ = started(init, adapter(shape))
    layer(torch.randn(16, shape[0], dtype=torch.float64)).square().sum().backward()
    assert layer.A.grad.norm() > 0.01
    assert layer.B.grad.norm() > 0.01


@each_shape
@pytest.mark.parametrize("init", [pissa, milora, olora, with_gradient])
def test_in_single_precision_the_weight_is_kept_to_a_millionth(
    init: Callable[..., None], shape: tuple[int, int]
) -> None:
    layer = adapter(shape).float()
    weight = layer.base.weight.clone()
    with torch.no_grad():
        init(layer)
        assert float((layer.effective_weight() - weight).abs().max()) <= 1e-6
    assert layer.A.dtype == layer.B.dtype == layer.base.weight.dtype == torch.float32


@pytest.mark.parametrize("init", [pissa, milora, olora, with_gradient])
def test_in_half_precision_the_residual_makes_up_for_rounded_factors(
    init: Callable[..., None],
) -> None:
    layer = adapter((24, 24)).to(torch.bfloat16)
    weight = layer.base.weight.float()
    with torch.no_grad():
        init(layer)
        kept = layer.base.weight.float() + layer.scale * layer.B.float() @ layer.A.float()
    assert float((kept - weight).norm()) <= 2**-8 * float(layer.base.weight.detach().norm())


@each_shape
def test_lora_ga_starts_at_the_stated_scale_in_directions_that_do_not_overlap(
    shape: tuple[int, int],
) -> None:
    gradient = torch.randn(shape[1], shape[0], dtype=torch.float64)
    layer, _ = started(lora_ga, adapter(shape), gradient=gradient, gamma=GAMMA)
    expected = torch.eye(RANK).double() * shape[1] ** 0.5 / GAMMA
    torch.testing.assert_close((layer.A @ layer.A.T).detach(), expected)
    torch.testing.assert_close((layer.B.T @ layer.B).detach(), expected)
    assert float((layer.B.T @ gradient @ layer.A.T).detach().abs().max()) < 1e-12


@each_shape
def test_the_first_step_of_lora_ga_is_the_best_of_rank_2r(shape: tuple[int, int]) -> None:
    gradient = torch.randn(shape[1], shape[0], dtype=torch.float64)
    layer, _ = started(lora_ga, adapter(shape), gradient=gradient, gamma=GAMMA)
    B, A = layer.B.detach(), layer.A.detach()
    step = (B @ B.T @ gradient + gradient @ A.T @ A) * GAMMA / shape[1] ** 0.5
    U, S, Vt = torch.linalg.svd(gradient, full_matrices=False)
    best = U[:, : 2 * RANK] @ S[: 2 * RANK].diag() @ Vt[: 2 * RANK]
    torch.testing.assert_close(step, best)


def test_lora_ga_covers_all_directions_where_twice_the_rank_is_more_than_there_are() -> None:
    gradient = torch.randn(6, 9, dtype=torch.float64)
    layer, _ = started(lora_ga, adapter((9, 6), 4), gradient=gradient, gamma=GAMMA)
    both = torch.cat([layer.B.detach(), gradient @ layer.A.detach().T], dim=1)
    assert torch.linalg.matrix_rank(both) == 6


@each_shape
def test_spectral_factors_are_even_and_their_product_the_best_of_its_rank(
    shape: tuple[int, int],
) -> None:
    dense = nn.Linear(*shape)
    layer = FactorisedLinear.replacing(dense, RANK)
    spectral(layer, dense=dense)
    U, S, Vt = torch.linalg.svd(dense.weight.detach(), full_matrices=False)
    best = U[:, :RANK] @ S[:RANK].diag() @ Vt[:RANK]
    torch.testing.assert_close(layer.effective_weight().detach(), best)
    torch.testing.assert_close((layer.A @ layer.A.T).detach(), S[:RANK].diag())
    torch.testing.assert_close((layer.B.T @ layer.B).detach(), S[:RANK].diag())
    assert layer.bias is not None
    assert torch.equal(layer.bias, dense.bias)


def test_spectral_at_full_rank_computes_what_the_dense_layer_did() -> None:
    dense = nn.Linear(7, 5, bias=False)
    layer = FactorisedLinear.replacing(dense, 5)
    spectral(layer, dense=dense)
    x = torch.randn(3, 7)
    torch.testing.assert_close(layer(x), dense(x))


@each_shape
def test_orthogonal_beside_a_base_has_orthonormal_rows_and_no_correction(
    shape: tuple[int, int],
) -> None:
    layer, _ = started(orthogonal, adapter(shape))
    torch.testing.assert_close((layer.A @ layer.A.T).detach(), torch.eye(RANK).double())
    assert not layer.B.any()


@each_shape
def test_orthogonal_factors_give_a_weight_of_equal_singular_values(
    shape: tuple[int, int],
) -> None:
    layer = FactorisedLinear(*shape, RANK).double()
    with torch.no_grad():
        orthogonal(layer)  # type: ignore[arg-type]
    S = torch.linalg.svdvals(layer.effective_weight().detach())[:RANK]
    torch.testing.assert_close(S, torch.full_like(S, (shape[1] / (3 * RANK)) ** 0.5))
    square = layer.effective_weight().detach().square().mean()
    assert float(square) == pytest.approx(1 / (3 * shape[0]))


@pytest.mark.parametrize("init", [pissa, milora, olora, with_gradient, orthogonal])
def test_a_rank_above_the_smaller_side_is_refused(init: Callable[..., None]) -> None:
    name = "lora_ga" if init is with_gradient else init.__name__
    told = rf"method\.adapter\.rank=6: method\.init={name} .*\(5, 9\) \(out, in\) has 5"
    with pytest.raises(ConfigError, match=told):
        init(adapter((9, 5), 6))


@pytest.mark.parametrize("init", [pissa, milora, olora, with_gradient])
def test_a_rank_of_the_smaller_side_is_not(init: Callable[..., None]) -> None:
    started(init, adapter((9, 5), 5))


def test_spectral_refuses_a_rank_above_the_smaller_side() -> None:
    dense = nn.Linear(9, 5)
    with pytest.raises(ConfigError, match=r"rank=6: method\.init=spectral"):
        spectral(FactorisedLinear.replacing(dense, 6), dense=dense)


@pytest.mark.parametrize("gamma", [0, -1, float("nan")])
def test_lora_ga_refuses_a_gamma_that_is_not_positive(gamma: float) -> None:
    with pytest.raises(ConfigError, match=rf"method\.init\.gamma={gamma}"):
        lora_ga(adapter((9, 5)), gradient=torch.randn(5, 9), gamma=gamma)


def test_the_signs_of_a_decomposition_do_not_depend_on_what_decomposes() -> None:
    matrix = torch.randn(3, 6, 4, dtype=torch.float64)
    U, S, Vt = signed_svd(matrix)
    torch.testing.assert_close(U * S.unsqueeze(-2) @ Vt, matrix)
    largest = U.gather(-2, U.abs().argmax(-2, keepdim=True))
    assert (largest > 0).all()
    V, _, Ut = signed_svd(matrix.mT.contiguous())  # another way to the same vectors
    torch.testing.assert_close((V @ Ut).abs(), (Vt.mT @ U.mT).abs())
    assert signed_svd(matrix.bfloat16())[0].dtype == torch.float32
