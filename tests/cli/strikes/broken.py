"""A layer that can be built and evaluated, and raises when it is trained."""

from torch import Tensor

from lowrank_bench.layers.factorised import FactorisedLinear


class BrokenLinear(FactorisedLinear):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise RuntimeError("broken on purpose")
        return super().forward(x)
