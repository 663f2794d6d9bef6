from typing import Any

import pytest
import torch
from torch import Tensor

from lowrank_bench.layers.fastfood import Dense, Fastfood, fwht, hadamard

CPU = torch.device("cpu")
SIZES = {
    "blocks that fit": (96, 8),
    "a cut block": (91, 5),
    "less than a block": (7, 10),
    "one dimension": (9, 1),
}


def by_definition(size: int) -> Tensor:
    """H[i, j] = (-1)^(number of bits that i and j share)."""
    bits = [[bin(i & j).count("1") for j in range(size)] for i in range(size)]
    return (-1.0) ** torch.tensor(bits, dtype=torch.float64)


def drawn(kind: Any, size: int, dimension: int, seed: int = 0) -> Any:
    projection = kind(size, dimension).double()
    projection.draw(torch.Generator().manual_seed(seed))
    return projection


def matrix_of(projection: Any, dimension: int) -> Tensor:
    """P (D, d), column by column."""
    units = torch.eye(dimension, dtype=torch.float64)
    return torch.stack([projection(unit) for unit in units], dim=1)


@pytest.mark.parametrize("size", [1, 2, 8, 64, 128, 512])
def test_the_transform_is_the_product_with_hadamards_matrix(size: int) -> None:
    x = torch.randn(2, 3, size, dtype=torch.float64)
    H = by_definition(size)
    torch.testing.assert_close(fwht(x), x @ H)
    torch.testing.assert_close(hadamard(size, torch.float64, CPU), H)


def test_twice_the_transform_is_a_multiple_of_nothing() -> None:
    x = torch.randn(3, 2**13, dtype=torch.float64)
    torch.testing.assert_close(fwht(fwht(x)), 2**13 * x)


def test_the_transform_can_be_first_used_where_nothing_can_be_trained() -> None:
    hadamard.cache_clear()
    with torch.inference_mode():
        fwht(torch.randn(16))
    x = torch.randn(16, requires_grad=True)
    fwht(x).square().sum().backward()
    torch.testing.assert_close(x.grad, 32 * x.detach())


@pytest.mark.parametrize(("size", "dimension"), SIZES.values(), ids=SIZES)
def test_fastfood_is_its_explicit_matrix(size: int, dimension: int) -> None:
    projection = drawn(Fastfood, size, dimension)
    blocks, length = projection.signs.shape
    assert length >= dimension > length // 2
    H = by_definition(length)
    rows = []
    for block in range(blocks):
        signs, gauss = projection.signs[block].diag(), projection.gauss[block].diag()
        within = projection.order.view(blocks, length)[block] - block * length
        permutation = torch.eye(length, dtype=torch.float64)[within]
        rows.append(H @ gauss @ permutation @ H @ signs)
    expected = torch.cat(rows)[:size, :dimension]
    torch.testing.assert_close(matrix_of(projection, dimension), expected)
    assert set(projection.signs.flatten().tolist()) <= {-1.0, 1.0}


@pytest.mark.parametrize(("size", "dimension"), [(4096, 16), (4090, 16), (5000, 100)])
@pytest.mark.parametrize("kind", [Fastfood, Dense])
def test_columns_are_near_unit_and_near_orthogonal(kind: Any, size: int, dimension: int) -> None:
    P = matrix_of(drawn(kind, size, dimension), dimension)
    gram = P.T @ P
    assert (gram.diag() - 1).abs().max() < (1e-5 if kind is Dense else 0.1)
    between = gram - gram.diag().diag()
    assert between.abs().max() < 6 / size**0.5  # standard deviations of a random inner product
    assert between.abs().max() > 0


def test_columns_are_of_norm_one_where_the_blocks_fit() -> None:
    P = matrix_of(drawn(Fastfood, 4096, 16), 16)
    torch.testing.assert_close(P.norm(dim=0), torch.ones(16, dtype=torch.float64))


@pytest.mark.parametrize("kind", [Fastfood, Dense])
def test_a_seed_decides_the_matrix(kind: Any) -> None:
    first, again, other = (matrix_of(drawn(kind, 50, 6, seed), 6) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("kind", [Fastfood, Dense])
def test_drawing_leaves_the_global_generator_alone(kind: Any) -> None:
    before = torch.get_rng_state()
    drawn(kind, 50, 6)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_gradient_is_the_transposed_matrix() -> None:
    projection = drawn(Fastfood, 91, 5)
    z = torch.randn(5, dtype=torch.float64, requires_grad=True)
    G = torch.randn(91, dtype=torch.float64)
    projection(z).backward(G)
    torch.testing.assert_close(z.grad, matrix_of(projection, 5).T @ G)
