"""Numbers of a study, as its verdicts write them; what is not known is a dash."""

from lowrank_bench.protocol import wording
from lowrank_bench.protocol.tuning import ONE_POINT
from lowrank_bench.report.metric import Metric

NONE = "–"


def value(metric: Metric, number: float | None) -> str:
    """'91.25 %', '0.2512 nats'."""
    return NONE if number is None else wording.number(number, _kind(metric))


def between(metric: Metric, low: float | None, high: float | None) -> str:
    """'91.02 to 91.48 %'."""
    if low is None or high is None:
        return NONE
    return f"{value(metric, low).partition(' ')[0]} to {value(metric, high)}"


def signed(metric: Metric, number: float | None) -> str:
    """A difference without its unit: '+0.42'."""
    return NONE if number is None else wording.bare(number, _kind(metric))


def interval(metric: Metric, low: float | None, high: float | None) -> str:
    """Of a difference, without its unit: '-0.61 to -0.22'."""
    if low is None or high is None:
        return NONE
    return f"{signed(metric, low)} to {signed(metric, high)}"


def amount(metric: Metric, number: float) -> str:
    """A difference without a sign: '0.50 points'."""
    return wording.amount(number, _kind(metric))


def near(metric: Metric) -> str:
    """What a learning rate may lose and still count as good: 'one point', '0.02 nats'."""
    return "one point" if metric.is_fraction else f"{ONE_POINT['loss']:g} nats"


def unit(metric: Metric) -> str:
    return wording.unit(_kind(metric))


def _kind(metric: Metric) -> str:
    return "accuracy" if metric.is_fraction else "loss"


def decades(number: float) -> str:
    if number == 0:
        return "a single rate"
    return f"{number:.2g} decade{'' if number == 1 else 's'}"


def of_bytes(number: float | None) -> str:
    return NONE if number is None else f"{number / 2**20:.3g} MiB"


def short(number: float | None) -> str:
    """Three digits and a letter for the thousands: '32.8k'."""
    if number is None:
        return NONE
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"
