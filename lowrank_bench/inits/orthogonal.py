"""Factors whose directions do not overlap."""

from math import sqrt

from torch import nn

from lowrank_bench.inits.decompose import check_fits
from lowrank_bench.inits.domain import starts
from lowrank_bench.layers.factorised import FactorisedLinear
from lowrank_bench.layers.lora import LoRALinear


@starts("adapter", "factorised")
def orthogonal(layer: LoRALinear | FactorisedLinear) -> None:
    """A A^T = I and B = 0 beside a base; without one A A^T = B^T B = c I, c^2 = o/(3r).

    All singular values of a factorised weight B A are then sqrt(o/(3r)), so that its mean
    square entry is 1/(3i), exactly nn.Linear's; b ~ U(-1/sqrt(i), 1/sqrt(i)).

    Source: this benchmark, with the orthogonal matrices of Saxe 2013, arXiv 1312.6120.
    Differs: PEFT's `init_lora_weights="orthogonal"` draws both factors, from two halves of one
    rotation, so that their product vanishes though neither does.
    Raises: ConfigError when the rank exceeds min(o, i).
    """
    check_fits("orthogonal", layer.rank, (layer.out_features, layer.in_features))
    if isinstance(layer, LoRALinear):
        nn.init.orthogonal_(layer.A)
        nn.init.zeros_(layer.B)
        return
    root = (layer.out_features / (3 * layer.rank)) ** 0.25
    nn.init.orthogonal_(layer.A, gain=root)
    nn.init.orthogonal_(layer.B, gain=root)
    if layer.bias is not None:
        nn.init.uniform_(layer.bias, -1 / sqrt(layer.in_features), 1 / sqrt(layer.in_features))
