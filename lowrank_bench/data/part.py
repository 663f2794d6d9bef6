"""What a training loop asks of data, whatever they are."""

from typing import Protocol

from torch import Tensor

from lowrank_bench.objectives.objective import Objective


class Part(Protocol):
    """The training, validation or test part of a data set, in memory or mapped into it."""

    def __len__(self) -> int:
        """Examples."""
        ...

    def fetch(self, index: slice | Tensor) -> tuple[Tensor, Tensor]:
        """x (n, ...) and targets y (n, ...) at `index`."""
        ...

    def count(self, index: slice | Tensor) -> int:
        """How many targets the examples at `index` have: labels, or tokens to predict."""
        ...

    def fetch_ids(self, index: slice | Tensor) -> Tensor | None:
        """The adapter ids (n,) at `index`; None where the examples have none."""
        ...


class Data(Protocol):
    """A data set, split; what a `data` config builds."""

    name: str
    checksum: str | None  # of the content; None where it is not known beforehand
    adapters: int | None  # into how many adapters' examples it is shared out
    objective: Objective

    @property
    def train(self) -> Part: ...

    @property
    def val(self) -> Part | None: ...

    @property
    def test(self) -> Part | None: ...
