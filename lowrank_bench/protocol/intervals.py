"""Bootstrap intervals of means.

Efron 1987, "Better bootstrap confidence intervals" (BCa), by scipy. With so few values as a
study has seeds they are somewhat too narrow: of nine normal values the 95 % interval covers the
mean in about 90 % of cases. So no verdict is read off an interval: those come from exact tests.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from scipy import stats

RESAMPLES = 9_999
BATCH = 2_000  # resamples at a time, which bounds the memory

Interval = tuple[float | None, float | None]


def intervals(
    samples: Sequence[np.ndarray], *, level: float = 0.95, resamples: int = RESAMPLES
) -> list[Interval]:
    """Of the mean of each sample; none for less than two values, a point where all are equal.

    BCa, and the percentile interval where BCa has none (when the observed mean is beyond all
    resampled ones). The resamples have a fixed seed: equal samples have equal intervals.
    """
    found: list[Interval] = [(None, None)] * len(samples)
    by_size: dict[int, list[int]] = {}
    for i, sample in enumerate(samples):
        if len(sample) > 1 and np.ptp(sample) == 0:
            found[i] = (float(sample[0]), float(sample[0]))
        elif len(sample) > 1:
            by_size.setdefault(len(sample), []).append(i)
    for places in by_size.values():
        low, high = _bootstrap(np.stack([samples[i] for i in places]), level, resamples)
        for i, interval in zip(places, zip(low.tolist(), high.tolist(), strict=True), strict=True):
            found[i] = interval
    return found


def _bootstrap(data: np.ndarray, level: float, resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """data (m, n) of which no row is constant -> low and high, (m,) each."""
    given = {"vectorized": True, "axis": -1, "confidence_level": level, "batch": BATCH}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        result = stats.bootstrap((data,), np.mean, n_resamples=resamples, rng=0, **given)
    low, high = result.confidence_interval
    bad = ~np.isfinite(low) | ~np.isfinite(high)
    if bad.any():
        plain = stats.bootstrap(
            (data[bad],), np.mean, n_resamples=resamples, rng=0, method="percentile", **given
        )
        low[bad], high[bad] = plain.confidence_interval
    return low, high
