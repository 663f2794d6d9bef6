import itertools

import numpy as np
import pytest
from scipy import stats

from lowrank_bench.protocol import exact


def counted(sample: list[float]) -> float:
    """By hand: the share of sign assignments whose sum is as far from zero as the observed."""
    sums = [
        sum(s * d for s, d in zip(signs, sample, strict=True))
        for signs in itertools.product((1, -1), repeat=len(sample))
    ]
    return float(np.mean([abs(each) >= abs(sum(sample)) - 1e-15 for each in sums]))


@pytest.mark.parametrize(
    ("sample", "p"),
    [
        ([1, 2, 3, 4, 5, 6], 2 / 64),  # all on one side
        ([-1, 2, 3, 4, 5, 6], 4 / 64),  # only the observed and all positive are as far, twice
        ([1, -2, 3, 4, 5, 6], 6 / 64),  # and that with -1 in the place of -2
        ([1, 2, -3, 4, 5, 6], 10 / 64),  # sums of those left out: 0, 1, 2, 3, 1 + 2
        ([1, 1, 1, 1, 1, -1], 14 / 64),  # one or none of six is negative, twice
        ([3, -3, 2, -2, 1, -1], 1.0),  # no difference at all
        ([0, 0, 0, 1, 1, 1], 16 / 64),  # zeros have two signs as well
    ],
)
def test_p_of_six_pairs_is_what_one_counts_by_hand(sample: list[float], p: float) -> None:
    found = exact.of_no_difference([np.array(sample) / 1000])[0]
    assert found == pytest.approx(p)
    assert counted(sample) == pytest.approx(p)


def test_many_samples_have_the_p_that_each_has_alone() -> None:
    draw = np.random.default_rng(0)
    samples = [draw.normal(size=size).round(3) for size in (6, 9, 6, 0, 1, 2, 14, 9)]
    together = exact.of_no_difference(samples)
    assert together == [exact.of_no_difference([sample])[0] for sample in samples]
    for sample, p in zip(samples, together, strict=True):
        if 2 <= len(sample) <= 9:
            assert p == pytest.approx(counted(list(sample)))


def test_nothing_has_no_p_and_one_pair_shows_nothing() -> None:
    assert exact.of_no_difference([np.array([]), np.array([0.5]), np.array([0.1, 0.2])]) == [
        None,
        1.0,
        0.5,
    ]


@pytest.mark.parametrize("size", [1, 2, 9, 13, 14, 20])
def test_equal_pairs_have_p_one_without_a_warning(size: int) -> None:
    assert exact.of_no_difference([np.zeros(size)]) == [1.0]


def test_equal_differences_are_counted_like_others() -> None:
    assert exact.of_no_difference([np.full(9, 0.003)])[0] == pytest.approx(2 / 512)


def test_decimals_whose_sums_round_are_compared_as_what_they_are() -> None:
    sample = np.array([0.1, 0.2, -0.3, 0.1, -0.1, 0.0])  # 0.1 + 0.2 - 0.3 is 5.6e-17 in floats
    assert exact.of_no_difference([sample]) == [1.0]


def test_beyond_thirteen_pairs_it_is_wilcoxons_test() -> None:
    sample = np.arange(1, 15) / 100
    assert [exact.test_name(n) for n in (13, 14)] == ["permutation", "wilcoxon"]
    assert exact.of_no_difference([sample])[0] == pytest.approx(2 / 2**14)
    sample[0] *= -1
    _, expected = stats.wilcoxon(sample, method="exact")
    assert exact.of_no_difference([sample])[0] == pytest.approx(expected)


def test_wilcoxon_leaves_out_zeros() -> None:
    sample = np.concatenate([np.zeros(4), np.arange(1, 12) / 100])
    assert exact.of_no_difference([sample])[0] == pytest.approx(2 / 2**11)


def test_a_difference_is_within_the_margin_when_both_one_sided_tests_say_so() -> None:
    inside, above, below = np.full(6, 0.001), np.full(6, 0.02), np.full(6, -0.02)
    mixed = np.array([0.001, -0.001, 0.002, 0.0, -0.002, 0.02])
    p = exact.of_a_difference_beyond([inside, above, below, mixed], 0.005)
    assert p[:3] == [1 / 64, 1.0, 1.0]
    assert p[3] is not None and p[3] > 0.05  # one far value is enough to doubt


@pytest.mark.slow
def test_a_difference_just_beyond_the_margin_is_called_within_in_five_of_a_hundred() -> None:
    draw = np.random.default_rng(0)
    samples = list((0.005 + 0.002 * draw.normal(size=(2000, 9))).round(12))
    p = np.array(exact.of_a_difference_beyond(samples, 0.005), float)
    assert 0.035 < np.mean(p <= 0.05) < 0.065
