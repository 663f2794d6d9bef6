"""Factors whose product has the variance of a dense layer: the control for scale."""

from math import sqrt

from torch import nn

from lowrank_bench.inits.domain import starts
from lowrank_bench.layers.factorised import FactorisedLinear


@starts("factorised")
def matched_variance(layer: FactorisedLinear) -> None:
    """A, B ~ U(-a, a) with a^2 = sqrt(3 / (r i)); b ~ U(-1/sqrt(i), 1/sqrt(i)).

    Var(BA) = r (a^2/3)^2 = 1/(3i), exactly nn.Linear's, shared evenly by the two factors.

    Source: this benchmark, so that "factorised or dense" and "large or small" come apart.
    """
    bound = sqrt(sqrt(3 / (layer.rank * layer.in_features)))
    nn.init.uniform_(layer.A, -bound, bound)
    nn.init.uniform_(layer.B, -bound, bound)
    if layer.bias is not None:
        nn.init.uniform_(layer.bias, -1 / sqrt(layer.in_features), 1 / sqrt(layer.in_features))
