import pytest

from lowrank_bench.protocol.seeds_needed import (
    seeds_needed,
    smallest_p,
    what_cannot_be_claimed,
)


@pytest.mark.parametrize(
    ("comparisons", "seeds"), [(0, 6), (1, 6), (2, 7), (6, 8), (7, 9), (11, 9), (12, 9), (13, 10)]
)
def test_eleven_comparisons_take_nine_seeds(comparisons: int, seeds: int) -> None:
    assert seeds_needed(comparisons, 0.05) == seeds


@pytest.mark.parametrize("alpha", [0.001, 0.01, 0.05, 0.1, 0.0625])
def test_so_many_seeds_are_enough_and_one_less_is_not(alpha: float) -> None:
    for comparisons in range(1, 600):
        n = seeds_needed(comparisons, alpha)
        assert comparisons * smallest_p(n) <= alpha
        assert n == 2 or comparisons * smallest_p(n - 1) > alpha


def test_one_seed_is_never_enough() -> None:
    assert seeds_needed(1, 0.999) == 2


def test_the_smallest_p_is_that_of_all_differences_on_one_side() -> None:
    assert smallest_p(5) == 0.0625  # 2 of 32
    assert smallest_p(9) == 2 / 512


def test_what_cannot_be_claimed_says_how_many_seeds_would_do() -> None:
    line = what_cannot_be_claimed(8, 11, 0.05)
    assert line is not None and "9 would do" in line
    assert "a single comparison could be shown" in line
    line = what_cannot_be_claimed(5, 11, 0.05)
    assert line is not None and "single" not in line


def test_nothing_is_said_where_a_claim_can_be_made() -> None:
    assert what_cannot_be_claimed(9, 11, 0.05) is None
    assert what_cannot_be_claimed(1, 0, 0.05) is None  # nothing is compared
