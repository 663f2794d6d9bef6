"""Factors whose directions do not overlap."""

from math import sqrt

import torch
from torch import Tensor, nn

from lowrank_bench.inits.decompose import at_least_single, check_fits
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
        fill_orthogonal(layer.A, 1)
        nn.init.zeros_(layer.B)
        return
    root = (layer.out_features / (3 * layer.rank)) ** 0.25
    fill_orthogonal(layer.A, root)
    fill_orthogonal(layer.B, root)
    if layer.bias is not None:
        nn.init.uniform_(layer.bias, -1 / sqrt(layer.in_features), 1 / sqrt(layer.in_features))


@torch.no_grad()
def fill_orthogonal(factor: Tensor, gain: float) -> None:
    """Random orthonormal rows or columns, whichever are fewer, times `gain`; any precision."""
    factor.copy_(nn.init.orthogonal_(at_least_single(factor).clone(), gain=gain))
