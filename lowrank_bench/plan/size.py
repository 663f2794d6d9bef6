"""How much there is of something."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Of tensors: how many numbers, and in how many bytes."""

    elements: int = 0
    bytes: int = 0

    def __add__(self, other: "Size") -> "Size":
        return Size(self.elements + other.elements, self.bytes + other.bytes)


def total(sizes: Iterable[Size]) -> Size:
    return sum(sizes, Size())
