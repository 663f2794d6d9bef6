"""Axes whose pixels are known, so that names can be put beside marks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from lowrank_bench.report.figure import Datasets, Values
from lowrank_bench.report.naming import Box, Spot, placed

ROOM = 0.07  # of the span, around what is drawn
FAR = 2.5


@dataclass(frozen=True)
class Scale:
    low: float
    high: float
    is_log: bool = False

    @classmethod
    def over(cls, values: Sequence[float], *, log: bool = False, room: float = ROOM) -> "Scale":
        """All values with some room; logarithmic where it is asked for and they allow it."""
        low, high = min(values), max(values)
        if log and low > 0:
            factor = (high / low) ** room if high > low else 2.0
            return cls(_short(low / factor), _short(high * factor), True)
        more = room * ((high - low) or abs(high) or 1.0)
        return cls(_short(low - more), _short(high + more))

    def pixel(self, value: float, length: float) -> float:
        """From the low end."""
        if self.is_log:
            return length * math.log(value / self.low) / math.log(self.high / self.low)
        return length * (value - self.low) / (self.high - self.low)

    @property
    def alt(self) -> alt.Scale:
        kind: dict[str, Any] = {"type": "log"} if self.is_log else {"zero": False}
        return alt.Scale(domain=[self.low, self.high], nice=False, **kind)


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def in_sight(values: Sequence[float], sign: int) -> list[bool]:
    """Which of the values a chart of the better ones need not be squeezed for.

    Left out is what lies further below the median than FAR times the best is above it.
    """
    gains = [sign * value for value in values]
    middle = sorted(gains)[len(gains) // 2]
    lowest = middle - FAR * (max(gains) - middle) if max(gains) > middle else min(gains)
    return [gain >= lowest for gain in gains]


@dataclass(frozen=True)
class Axes:
    """Of a plot so many pixels wide and tall in the image; a page may give it more."""

    x: Scale
    y: Scale
    width: float
    height: float

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        return self.x.pixel(x, self.width), self.height - self.y.pixel(y, self.height)

    def names(
        self,
        name: str,
        named: Values,
        marks: Values,
        data: Datasets,
        at: dict[str, Any],
        *,
        taken: Sequence[Box] = (),
        thin: Sequence[Box] = (),
    ) -> list[alt.Chart]:
        """The arms of `named` beside their marks, earlier ones first, as many as fit.

        `marks` are all that is drawn; rows have `arm`, `x` and `y`. `at` encodes these two. Nothing
        is put over what is `taken`, and over `thin` lines only what has no better place.
        """
        points = [self.pixel(row["x"], row["y"]) for row in marks]
        spots = [Spot(row["arm"], *self.pixel(row["x"], row["y"])) for row in named]
        rows = {row["arm"]: row for row in named}
        sides: dict[tuple[Any, int, int], Values] = {}  # Any: of Altair's own literals
        found = placed(spots, points, self.width, self.height, taken=taken, thin=thin)
        for place in found:
            row = {key: rows[place.text][key] for key in ("arm", "method", "rank", "x", "y")}
            sides.setdefault((place.align, place.dx, place.dy), []).append(row)
        return [
            data.chart(f"{name} names {align} {dx} {dy}", those)
            .mark_text(style="ink", align=align, baseline="middle", dx=dx, dy=dy, fontSize=10)
            .encode(**at, text="arm:N")
            for (align, dx, dy), those in sides.items()
        ]


def powers(low: float, high: float, steps: Sequence[int] = (1, 3)) -> list[float]:
    """1 and 3 of each order of magnitude in between."""
    ticks = [float(f"{step}e{power}") for power in range(-12, 13) for step in steps]
    return [tick for tick in ticks if low <= tick <= high]
