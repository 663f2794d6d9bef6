"""Linear CKA: what it must not see, and values worked out by hand."""

import pytest
import torch
from torch import Tensor

from lowrank_bench.similarity import linear_cka


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(50, 8), (8, 50)])  # by features, and by kernels
def test_rotation_scale_and_shift_are_not_seen(size: tuple[int, int]) -> None:
    x = draw(*size)
    turn, _ = torch.linalg.qr(draw(size[1], size[1], seed=1))
    assert linear_cka(x, -3 * x @ turn + 5) == pytest.approx(1, abs=1e-6)


def test_another_linear_map_is_seen() -> None:
    x = draw(50, 8)
    stretched = x * torch.tensor([10.0] + [1.0] * 7)
    assert 0 < (linear_cka(x, stretched) or 0) < 0.9


def test_features_that_share_nothing_give_zero() -> None:
    x = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    y = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
    assert linear_cka(x, y) == 0


def test_one_of_two_equal_directions_is_shared() -> None:
    """|Y^T X|_F^2 = 16, |X^T X|_F = 4 sqrt 2, |Y^T Y|_F = 4."""
    x = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    assert linear_cka(x, x[:, :1]) == pytest.approx(0.5**0.5)


def test_it_is_the_same_either_way_round_and_by_either_formula() -> None:
    x, y = draw(30, 20), draw(30, 25, seed=1)
    assert linear_cka(x, y) == pytest.approx(linear_cka(y, x))
    wide = torch.cat((x, torch.zeros(30, 20)), 1)  # more columns than rows: by kernels
    assert linear_cka(x, y) == pytest.approx(linear_cka(wide, y))


def test_features_that_are_the_same_for_every_example_give_nothing() -> None:
    assert linear_cka(draw(30, 4), torch.full((30, 4), 0.1)) is None


def test_other_examples_are_refused() -> None:
    with pytest.raises(AssertionError, match="same examples"):
        linear_cka(draw(30, 4), draw(31, 4))
