"""What is minimised, and what is counted in an evaluation."""

from typing import Protocol

from torch import Tensor


def wide(outputs: Tensor) -> Tensor:
    """In single precision at least: a half has three digits, and no room for a sum over many."""
    return outputs if outputs.dtype.itemsize >= 4 else outputs.float()


class Objective(Protocol):
    """Belongs to the data: it knows what the targets y of a batch are.

    A target is what one loss term is for: a label, or the next token.
    """

    def count(self, y: Tensor) -> Tensor:
        """The number of targets in y, as a tensor."""
        ...

    def total(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The loss in nats, summed over the targets."""
        ...

    def mean(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The loss in nats, averaged over the targets."""
        ...

    def sums(self, outputs: Tensor, y: Tensor) -> Tensor:
        """(3,) float64, to be added up over batches: loss, correct targets, targets."""
        ...

    def each(self, outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        """By name, one value an example (n,): its `loss`, and whether or how well it was hit."""
        ...

    def metrics(self, sums: Tensor) -> dict[str, float]:
        """By name, without the part's prefix, from the sums over a whole part."""
        ...

    def num_logits(self, y: Tensor) -> int:
        """How many outputs of a model the targets y ask for."""
        ...

    def check_outputs(self, size: int) -> None:
        """Raise ConfigError when a model whose last axis has `size` entries does not fit."""
        ...
