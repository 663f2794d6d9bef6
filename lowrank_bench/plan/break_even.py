"""The rank from which a factorisation no longer saves anything, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowrank_bench.plan.size import Size, total

if TYPE_CHECKING:  # which imports torch, and a table of layers needs none
    from lowrank_bench.plan.ledger import Ledger


@dataclass(frozen=True)
class LayerPlan:
    """One target layer, against the dense weight (m, n) that it had."""

    name: str
    m: int
    n: int
    trains: int  # parameters
    kept: Size  # weights, gradients and optimizer state
    is_whole: bool  # the weight itself trains

    @property
    def break_even(self) -> float:
        """Two factors (m, r) and (r, n) are as large as the weight at r = m n / (m + n)."""
        return self.m * self.n / (self.m + self.n)

    @property
    def break_even_state(self) -> float:
        """Projected Adam state m r + 2 n r, m <= n, is as large as 2 m n at r = 2 m n / (m + 2 n).

        Source: Zhao 2024, arXiv 2403.03507, table 1.
        """
        short, long = sorted((self.m, self.n))
        return 2 * short * long / (short + 2 * long)

    @property
    def saves(self) -> bool:
        """Whether fewer parameters train than the weight has, or the weight itself does."""
        return self.is_whole or self.trains < self.m * self.n


def layers(ledger: Ledger, shapes: dict[str, tuple[int, int]]) -> list[LayerPlan]:
    """The target layers in `shapes`, by name, with what the method keeps for each."""
    found = []
    for name, (m, n) in shapes.items():
        inside = [entry for entry in ledger.entries if entry.target == name]
        found.append(
            LayerPlan(
                name,
                m,
                n,
                sum(e.weight.elements for e in inside if e.trains and e.role != "bias"),
                total(size for e in inside for size in (e.weight, e.gradient, e.state)),
                any(e.trains and e.role == "dense" for e in inside),
            )
        )
    return found
