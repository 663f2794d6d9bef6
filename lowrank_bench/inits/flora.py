"""A bank of adapters that all start by changing nothing."""

from math import sqrt

from torch import nn

from lowrank_bench.inits.domain import starts
from lowrank_bench.layers.flora import FLoRABank


@starts("flora")
def flora(layer: FLoRABank) -> None:
    """additive: A ~ U(-1/sqrt(i), 1/sqrt(i)), B = 0, for each adapter, as LoRA starts.

    multiplicative: B A = 1 everywhere. The first component of both factors is 1; of the others
    B is 0 and A ~ U(-1, 1), which is the size of the first, so that their B gets a gradient.

    Source: this benchmark; arXiv 2312.05677 leaves its start open. The additive one is Hu 2021,
    section 4.1, arXiv 2106.09685.
    """
    bound = 1 if layer.form == "multiplicative" else 1 / sqrt(layer.in_features)
    nn.init.uniform_(layer.A, -bound, bound)
    layer.reset_()
