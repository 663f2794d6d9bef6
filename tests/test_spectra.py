"""Measures of a change, against changes whose spectrum is known."""

import math

import pytest
import torch
from torch import Tensor

from lowrank_bench.spectra import singular_values, spectrum, weight_change


def with_values(*values: float, shape: tuple[int, int] = (12, 9)) -> Tensor:
    """A float64 matrix that has these singular values, and zeros."""
    generator = torch.Generator().manual_seed(0)
    left, _ = torch.linalg.qr(torch.randn(shape[0], len(values), generator=generator).double())
    right, _ = torch.linalg.qr(torch.randn(shape[1], len(values), generator=generator).double())
    return left @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right.T


def a_start(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("shape", [(12, 9), (9, 12), (9, 9)])
def test_singular_values_are_those_of_the_svd(shape: tuple[int, int]) -> None:
    matrix = a_start(*shape)
    torch.testing.assert_close(singular_values(matrix), torch.linalg.svdvals(matrix))


def test_a_change_along_one_direction_counts_one_in_every_measure() -> None:
    start = a_start(12, 9)
    found = weight_change(start + with_values(3.0), start)
    assert found["rank"] == found["components_90"] == 1
    assert found["stable_rank"] == pytest.approx(1)
    assert found["effective_rank"] == pytest.approx(1)
    assert found["norm"] == pytest.approx(3)
    assert found["start_norm"] == pytest.approx(float(start.norm()))
    assert found["relative_norm"] == pytest.approx(3 / float(start.norm()))


def test_equal_directions_count_as_many_as_they_are() -> None:
    start = a_start(12, 9)
    found = weight_change(start + with_values(2.0, 2.0, 2.0, 2.0), start)
    assert found["rank"] == found["components_90"] == 4  # three cover 75 %
    assert found["stable_rank"] == pytest.approx(4)
    assert found["effective_rank"] == pytest.approx(4)
    assert found["full_rank"] == 9


def test_unequal_directions_count_by_each_formula() -> None:
    start = a_start(12, 9)
    found = weight_change(start + with_values(3.0, 1.0), start)
    assert found["stable_rank"] == pytest.approx(10 / 9)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert found["effective_rank"] == pytest.approx(math.exp(entropy))
    assert found["components_90"] == 1  # 9 of 10 is exactly the share asked for
    assert spectrum(torch.tensor([2.9, 1.0]))["components_90"] == 2


def test_a_weight_that_never_moved_has_no_spectrum() -> None:
    start = a_start(12, 9)
    found = weight_change(start.clone(), start)
    assert found["norm"] == found["relative_norm"] == found["rank"] == 0
    assert found["stable_rank"] is found["effective_rank"] is found["components_90"] is None


def test_a_start_at_zero_gives_no_share() -> None:
    found = weight_change(with_values(2.0), torch.zeros(12, 9).double())
    assert found["relative_norm"] is None
    assert found["norm"] == pytest.approx(2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1.0, 0.01])
def test_rounding_of_the_weight_adds_no_rank(dtype: torch.dtype, size: float) -> None:
    size = size if dtype == torch.float32 else 20 * size
    start = torch.randn(300, 200, generator=torch.Generator().manual_seed(1)).to(dtype)
    change = with_values(9 * size, 7 * size, 5 * size, shape=(300, 200))
    found = weight_change((start.double() + change).to(dtype), start)
    assert found["rank"] == 3
    exact = spectrum(torch.tensor([9.0, 7.0, 5.0]))
    for measure in ("stable_rank", "effective_rank"):
        assert found[measure] == pytest.approx(exact[measure], rel=0.02), measure


def test_a_change_of_full_rank_keeps_it() -> None:
    start = a_start(200, 150).float()
    noise = torch.randn(200, 150, generator=torch.Generator().manual_seed(2))
    found = weight_change(start + 1e-3 * noise, start)
    assert found["rank"] == found["full_rank"] == 150


def test_a_convolution_is_taken_as_outputs_by_the_rest() -> None:
    start = a_start(12, 9).reshape(12, 1, 3, 3)
    found = weight_change(start + with_values(2.0, 2.0).reshape(12, 1, 3, 3), start)
    assert (found["rank"], found["full_rank"]) == (2, 9)
    assert found["stable_rank"] == pytest.approx(2)


def test_a_weight_that_is_no_number_is_no_crash() -> None:
    start = a_start(12, 9)
    broken = start.clone()
    broken[0, 0] = math.nan
    found = weight_change(broken, start)
    assert math.isnan(found["norm"])
    assert found["stable_rank"] is None
