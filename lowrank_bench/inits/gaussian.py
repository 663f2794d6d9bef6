"""A correction that starts at zero, its input factor Gaussian."""

from torch import nn

from lowrank_bench.inits.domain import starts
from lowrank_bench.layers.conv_lora import ConvLoRA
from lowrank_bench.layers.lora import LoRALinear


@starts("adapter", "conv_adapter")
def gaussian(layer: LoRALinear | ConvLoRA) -> None:
    """A ~ N(0, 1/r^2), B = 0, so the layer computes what its base did.

    Source: Hu 2021, section 4.1, arXiv 2106.09685, which gives no variance; the standard
    deviation 1/r is that of PEFT's `init_lora_weights="gaussian"`.
    """
    nn.init.normal_(layer.A, std=1 / layer.rank)
    nn.init.zeros_(layer.B)
