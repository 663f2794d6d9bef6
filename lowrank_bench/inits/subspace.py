"""A random subspace, entered at its origin."""

import torch
from torch import nn

from lowrank_bench.inits.domain import starts
from lowrank_bench.layers.subspace import SubspaceLinear


@starts("subspace")
def subspace(layer: SubspaceLinear) -> None:
    """z = 0 and a fresh P, so the layer computes what its base did.

    Source: Li 2018, section 2, arXiv 1804.08838.
    """
    nn.init.zeros_(layer.z)
    layer.reset_()
    layer.draw(int(torch.randint(2**62, ())))
