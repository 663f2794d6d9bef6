"""What a base was trained on, and how it is asked about that."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from lowrank_bench.data.part import Data
from lowrank_bench.layers.swap import swap
from lowrank_bench.objectives.objective import Objective

SOURCE = "source"  # the name of the part in an evaluation: source_loss, source_accuracy


@dataclass(frozen=True, eq=False)
class Source:
    """The data that a base comes from, and the head that it had for them.

    `head` is None where the model is asked with the head that it has by now.
    """

    data: Data
    head_name: str | None = None
    head: nn.Module | None = None

    @property
    def objective(self) -> Objective:
        return self.data.objective

    @contextmanager
    def head_on(self, model: nn.Module) -> Iterator[None]:
        """`model` with the source's head in the place of its own, which comes back after."""
        if self.head is None or self.head_name is None:
            yield
            return
        own = model.get_submodule(self.head_name)
        swap(model, self.head_name, self.head.to(next(own.parameters())).train(own.training))
        try:
            yield
        finally:
            swap(model, self.head_name, own)
