"""A correction that starts at zero."""

from math import sqrt

from torch import nn

from lowrank_bench.inits.domain import starts
from lowrank_bench.layers.conv_lora import ConvLoRA
from lowrank_bench.layers.lora import LoRALinear


@starts("adapter", "conv_adapter")
def zero_b(layer: LoRALinear | ConvLoRA) -> None:
    """A ~ U(-1/sqrt(i), 1/sqrt(i)), B = 0, so the layer computes what its base did.

    Source: Hu 2021, section 4.1, arXiv 2106.09685; the uniform A is loralib's
    (kaiming_uniform_ with a = sqrt(5)), where the paper writes a Gaussian. i is the width of A,
    i k for a convolution.
    """
    bound = 1 / sqrt(layer.A.shape[1])
    nn.init.uniform_(layer.A, -bound, bound)
    nn.init.zeros_(layer.B)
