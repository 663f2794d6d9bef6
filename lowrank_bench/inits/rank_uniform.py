"""Both factors uniform at the scale of the rank."""

from math import sqrt

from torch import nn

from lowrank_bench.inits.domain import starts
from lowrank_bench.layers.factorised import FactorisedLinear


@starts("factorised")
def rank_uniform(layer: FactorisedLinear) -> None:
    """A, B ~ U(-1/sqrt(r), 1/sqrt(r)); b ~ U(-1/sqrt(i), 1/sqrt(i)).

    Var(BA) = 1/(9r) whatever the width, where nn.Linear has 1/(3i): i/(3r) times its variance,
    33 times at i = 784, r = 8.

    Source: github.com/mathmerizing/LoRALinear, its "LoRA layer", bias bound included.
    """
    bound = 1 / sqrt(layer.rank)
    nn.init.uniform_(layer.A, -bound, bound)
    nn.init.uniform_(layer.B, -bound, bound)
    if layer.bias is not None:
        nn.init.uniform_(layer.bias, -1 / sqrt(layer.in_features), 1 / sqrt(layer.in_features))
