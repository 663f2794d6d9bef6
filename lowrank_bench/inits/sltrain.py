"""A low-rank part that starts at zero beside a sparse part that does not."""

from math import sqrt

import torch
from torch import Tensor, nn

from lowrank_bench.inits.domain import starts
from lowrank_bench.layers.sltrain import SLTrainLinear


@starts("sltrain")
def sltrain(layer: SLTrainLinear) -> None:
    """A, v ~ U(-1/sqrt(i), 1/sqrt(i)), B = 0, b ~ U(-1/sqrt(o), 1/sqrt(o)), and k random places.

    The weight starts as its sparse part, with `density` times the variance of nn.Linear's.

    Source: Han 2024, arXiv 2406.02214; the bound of the bias, by o and not by i as nn.Linear
    has it, is that of its code (github.com/andyjm3/SLTrain).
    """
    bound = 1 / sqrt(layer.in_features)
    nn.init.uniform_(layer.A, -bound, bound)
    nn.init.zeros_(layer.B)
    nn.init.uniform_(layer.values, -bound, bound)
    if layer.bias is not None:
        nn.init.uniform_(layer.bias, -1 / sqrt(layer.out_features), 1 / sqrt(layer.out_features))
    count = layer.in_features * layer.out_features
    layer.index.copy_(random_subset(count, len(layer.index)))


def random_subset(count: int, k: int) -> Tensor:
    """k of the numbers 0 .. count - 1 (k), sorted; all subsets are equally likely.

    Memory grows with k and not with `count` while k is the smaller half.
    """
    if 2 * k > count:
        return torch.randperm(count)[:k].sort().values
    found = torch.empty(0, dtype=torch.int64)
    while len(found) < k:  # draws that repeat are dropped and made up for
        found = torch.cat([found, torch.randint(count, (2 * (k - len(found)),))]).unique()
    return found[torch.randperm(len(found))[:k]].sort().values
