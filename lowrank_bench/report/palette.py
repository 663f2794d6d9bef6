"""Colours that stay apart for colour-blind eyes, on white and on near-black."""

from dataclasses import dataclass

import polars as pl

from lowrank_bench.report.figure import Key

# Okabe and Ito 2008, less black and yellow, which vanish on one of the two grounds.
METHODS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right")
OUTLINES = {  # of those shapes, as SVG paths
    "circle": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z",
    "square": "M-3.5 -3.5H3.5V3.5H-3.5Z",
    "triangle-up": "M0 -4.5L4.5 3.5H-4.5Z",
    "diamond": "M0 -5L4.5 0L0 5L-4.5 0Z",
    "triangle-down": "M0 4.5L4.5 -3.5H-4.5Z",
    "cross": "M-1.5 -4.5H1.5V-1.5H4.5V1.5H1.5V4.5H-1.5V1.5H-4.5V-1.5H-1.5Z",
    "triangle-right": "M4.5 0L-3.5 4.5V-4.5Z",
}
DASHES = ([1, 0], [5, 2], [2, 2], [6, 2, 2, 2])
# After Plasma, its dark end lifted: lighter with rank, legible on both grounds.
RANKS = ("#6f42c1", "#9c3fb0", "#c94883", "#e8694f", "#f0962b", "#ecc02f")
RED = "#D1242F"


@dataclass(frozen=True)
class Palette:
    """One colour a method and one a rank, the same in all sections of a report."""

    methods: list[str]
    ranks: list[int]

    @classmethod
    def of(cls, runs: pl.DataFrame) -> "Palette":
        """Methods without a rank first: they are what the others are held against."""
        order = runs.group_by("method_label").agg(pl.col("rank").is_not_null().any())
        return cls(
            methods=order.sort("rank", "method_label")["method_label"].to_list(),
            ranks=runs["rank"].drop_nulls().unique().sort().to_list(),
        )

    def method(self, label: str) -> str:
        return METHODS[self.methods.index(label) % len(METHODS)]

    def key(self, label: str) -> Key:
        dash = " ".join(map(str, self.dash(label)))
        return Key(label, self.method(label), dash, OUTLINES[self.shape(label)])

    def shape(self, label: str) -> str:
        return SHAPES[self.methods.index(label) % len(SHAPES)]

    def dash(self, label: str) -> list[int]:
        return DASHES[self.methods.index(label) // len(METHODS) % len(DASHES)]

    def rank(self, rank: int) -> str:
        last = len(self.ranks) - 1
        return _between(self.ranks.index(rank) / last if last else 0.5)


def _between(position: float) -> str:
    """The colour at `position` in [0, 1] of the sequential palette."""
    scaled = position * (len(RANKS) - 1)
    i = min(int(scaled), len(RANKS) - 2)
    mixed = [
        round(a + (scaled - i) * (b - a))
        for a, b in zip(_rgb(RANKS[i]), _rgb(RANKS[i + 1]), strict=True)
    ]
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
