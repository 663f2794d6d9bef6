import pytest
import torch

from lowrank_bench.errors import ConfigError
from lowrank_bench.optim.limiter import Limiter, channel_norms


def limit(norms: list[float], growth: float = 1.01) -> list[float]:
    limiter, last, out = Limiter(growth), None, []
    for norm in norms:
        divisor, last = limiter(torch.tensor(norm), last)
        assert last == pytest.approx(norm / float(divisor))
        out.append(float(last))
    return out


def test_norms_grow_by_one_percent_at_most_and_fall_as_they_like() -> None:
    assert limit([1, 2, 2, 1]) == pytest.approx([1, 1.01, 1.0201, 1])


def test_a_norm_that_shrinks_is_left_alone() -> None:
    assert limit([4, 2, 0.5]) == pytest.approx([4, 2, 0.5])


def test_after_a_norm_of_zero_the_next_passes() -> None:
    assert limit([0, 3, 6]) == pytest.approx([0, 3, 3.03])


def test_growth_of_a_half_may_be_allowed() -> None:
    assert limit([1, 2, 4], growth=1.5) == pytest.approx([1, 1.5, 2.25])


@pytest.mark.parametrize("growth", [0.99, 0, "much"])
def test_a_limit_that_would_shrink_everything_is_refused(growth: float) -> None:
    with pytest.raises(ConfigError, match=r"method\.transform\.growth="):
        Limiter(growth)


@pytest.mark.parametrize("dim", [0, 1])
def test_channel_norms_are_those_of_torch(dim: int) -> None:
    matrix = torch.randn(5, 7)
    expected = torch.linalg.vector_norm(matrix, dim=dim, keepdim=True)
    assert torch.allclose(channel_norms(matrix, dim), expected)
