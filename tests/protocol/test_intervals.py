import numpy as np
import pytest
from scipy import stats

from lowrank_bench.protocol.intervals import intervals


def test_it_is_scipys_bca_interval_of_the_mean() -> None:
    sample = np.random.default_rng(1).exponential(size=9)
    expected = stats.bootstrap((sample,), np.mean, rng=0).confidence_interval
    assert intervals([sample])[0] == pytest.approx((expected.low, expected.high), rel=1e-3)


def test_many_samples_have_the_intervals_that_each_has_alone() -> None:
    draw = np.random.default_rng(0)
    samples = [draw.normal(size=size) for size in (9, 5, 9, 1, 0)]
    together = intervals(samples, resamples=499)
    for sample, interval in zip(samples, together, strict=True):
        alone = intervals([sample], resamples=499)[0]
        if len(sample) > 1:
            assert interval == pytest.approx(alone, abs=0.01)
        else:
            assert interval == alone == (None, None)


@pytest.mark.parametrize("size", [2, 3, 9, 30])
def test_equal_values_have_a_point_without_a_warning(size: int) -> None:
    assert intervals([np.full(size, 0.8123)]) == [(0.8123, 0.8123)]


def test_where_bca_has_none_it_is_the_percentile_interval() -> None:
    for sample in (np.array([0.1, 0.3]), np.array([0.0, 0.0, 0.0, 0.0, 1e-9]), np.r_[[0.2] * 8, 9]):
        low, high = intervals([sample])[0]
        assert low is not None and high is not None
        assert sample.min() <= low <= high <= sample.max()


def test_a_higher_level_gives_a_wider_interval() -> None:
    sample = np.random.default_rng(0).normal(size=9)
    (low, high), (lower, higher) = (intervals([sample], level=x)[0] for x in (0.9, 0.99))
    assert None not in (low, high, lower, higher)
    assert lower < low < high < higher  # type: ignore[operator]


@pytest.mark.slow
def test_of_nine_normal_values_it_covers_the_mean_in_about_nine_of_ten_cases() -> None:
    samples = list(np.random.default_rng(0).normal(size=(2000, 9)))
    covered = [low <= 0 <= high for low, high in intervals(samples, resamples=999)]  # type: ignore[operator]
    assert 0.87 < np.mean(covered) < 0.93
