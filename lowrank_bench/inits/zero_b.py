"""A correction that starts at zero."""

from math import sqrt

from torch import nn

from lowrank_bench.inits.domain import starts
from lowrank_bench.layers.lora import LoRALinear


@starts("adapter")
def zero_b(layer: LoRALinear) -> None:
    """A ~ U(-1/sqrt(i), 1/sqrt(i)), B = 0, so the layer computes what its base did.

    Source: Hu 2021, section 4.1, arXiv 2106.09685; the uniform A is loralib's
    (kaiming_uniform_ with a = sqrt(5)), where the paper writes a Gaussian.
    """
    nn.init.uniform_(layer.A, -1 / sqrt(layer.base.in_features), 1 / sqrt(layer.base.in_features))
    nn.init.zeros_(layer.B)
