"""Exact paired tests of differences.

Up to `MOST` pairs all 2^n assignments of signs are gone through (Fisher 1935): it assumes of the
differences no more than that, without an effect, each sign is as likely as the other. Beyond,
Wilcoxon's signed ranks with their exact distribution: zeros are left out first (Wilcoxon's own
way), and where absolute differences are equal scipy rounds the statistic to the side that makes p
larger.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from scipy import stats

MOST = 13
MOST_RANKED = 500  # pairs whose signed ranks have their exact distribution; it grows as the cube
BATCH = 1_024  # assignments at a time, which bounds the memory
SCALE = 1e12  # differences have 12 digits: as whole numbers their sums have no rounding

Alternative = Literal["two-sided", "greater"]


def test_name(num_pairs: int) -> str:
    return "permutation" if num_pairs <= MOST else "wilcoxon"


def of_no_difference(samples: Sequence[np.ndarray]) -> list[float | None]:
    """Two-sided p of each sample of differences; None of nothing, 1 of a single pair."""
    return _tests(samples, "two-sided")


def of_a_difference_beyond(samples: Sequence[np.ndarray], margin: float) -> list[float | None]:
    """p of each sample against "the difference is at least the margin, one way or the other".

    Two one-sided tests (Schuirmann 1987), of which the larger p counts: a small one says that the
    difference lies within +-margin.
    """
    above = _tests([sample + margin for sample in samples], "greater")
    below = _tests([margin - sample for sample in samples], "greater")
    return [
        None if a is None or b is None else max(a, b) for a, b in zip(above, below, strict=True)
    ]


def _tests(samples: Sequence[np.ndarray], alternative: Alternative) -> list[float | None]:
    found: list[float | None] = [None if len(sample) == 0 else 1.0 for sample in samples]
    by_size: dict[int, list[int]] = {}
    for i, sample in enumerate(samples):
        if len(sample) > MOST:
            found[i] = _wilcoxon(sample, alternative)
        elif len(sample) > 1:
            by_size.setdefault(len(sample), []).append(i)
    for places in by_size.values():
        data = np.rint(np.stack([samples[i] for i in places]) * SCALE)  # (m, n)
        result = stats.permutation_test(
            (data,),
            np.sum,
            permutation_type="samples",
            vectorized=True,
            n_resamples=2**MOST,  # enough for all of them, so that it draws none
            batch=BATCH,
            alternative=alternative,
            axis=-1,
        )
        for i, p in zip(places, np.atleast_1d(result.pvalue).tolist(), strict=True):
            found[i] = p
    return found


def direction(sample: np.ndarray) -> int:
    """Which way the test leans: the sign of the mean, beyond MOST pairs of the signed ranks."""
    if len(sample) <= MOST:
        return int(np.sign(np.mean(sample))) if len(sample) else 0
    return int(np.sign(np.sum(np.sign(sample) * stats.rankdata(np.abs(sample)))))


def _wilcoxon(sample: np.ndarray, alternative: Alternative) -> float:
    moved = sample[sample != 0]
    if len(moved) == 0:
        return 1.0
    method: Any = "exact" if len(moved) <= MOST_RANKED else "approx"
    result: Any = stats.wilcoxon(moved, alternative=alternative, method=method)
    return float(result.pvalue)
