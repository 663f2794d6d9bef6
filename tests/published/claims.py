"""A published number as something to be found: configs, a convention, and what to say of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from .plans import Overrides, planned

PLANNER = "planner"  # all from the planner's count
FORMULA = "formula"  # shapes from the planner, what the method adds by its paper's formula
PRINTED = "printed"  # arithmetic with numbers that a publication prints


@dataclass(frozen=True)
class Claim:
    """`find` of what `read` makes of each config in `plans` is the number of a row.

    `find` is a convention with its constants. `exactly` is the config whose bytes are told beside
    a row about memory, as the planner counts them, without any convention.
    """

    plans: tuple[Overrides, ...]
    find: Callable[..., float]
    convention: str
    kind: str = PLANNER
    exactly: Overrides | None = None
    read: Callable[[Overrides], Any] = planned

    def found(self) -> float:
        return self.find(*(self.read(plan) for plan in self.plans))

    def under(self, **constants: Any) -> "Claim":
        """By a convention that differs in these constants."""
        return replace(self, find=partial(self.find, **constants))

    def of(self, *overrides: str) -> "Claim":
        """Of configs that differ in these overrides."""
        return replace(self, plans=tuple((*plan, *overrides) for plan in self.plans))


def claim(
    find: Callable[..., float],
    convention: str,
    *plans: Overrides,
    kind: str = PLANNER,
    exactly: Overrides | None = None,
    read: Callable[[Overrides], Any] = planned,
    **constants: Any,
) -> Claim:
    return Claim(plans, partial(find, **constants), convention, kind, exactly, read)


Claims = dict[str, Claim]
