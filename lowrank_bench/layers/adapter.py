"""A layer around a frozen linear base."""

import torch
from torch import Tensor, nn

from lowrank_bench.layers.layer import Layer


class Adapter(Layer):
    """A correction of a frozen nn.Linear, kept in `base` with its bias."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base

    @property
    def in_features(self) -> int:
        return self.base.in_features

    @property
    def out_features(self) -> int:
        return self.base.out_features

    def reset_(self) -> None:
        """Back to a correction of nothing around the present base."""
        raise TypeError(f"{type(self).__name__} cannot start again")

    @torch.no_grad()
    def merge_(self) -> None:
        """W0 <- the effective weight, then a correction of nothing.

        Raises: TypeError, before anything has changed, for a layer without reset_().
        """
        if type(self).reset_ is Adapter.reset_:
            self.reset_()
        self.base.weight.copy_(self.effective_weight())
        self.reset_()

    def factors(self) -> tuple[Tensor, Tensor, float]:
        """B (o, r), A (r, i) and s: as a matrix, the effective weight is W0 + s B A.

        Raises: TypeError for a layer whose correction is no such product.
        """
        raise TypeError(f"the correction of {type(self).__name__} is no product of two factors")

    def as_matrix(self, weight: Tensor) -> Tensor:
        """The weight as the matrix in which the correction has a low rank; (o, i) as it is."""
        return weight

    def delta(self) -> Tensor:
        """Effective weight minus base (o, i)."""
        return self.effective_weight() - self.base.weight
