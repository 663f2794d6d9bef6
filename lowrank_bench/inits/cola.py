"""Two Gaussian factors at the variance of a Xavier-like product."""

from math import sqrt

from torch import nn

from lowrank_bench.inits.domain import starts
from lowrank_bench.layers.factorised import FactorisedLinear


@starts("factorised")
def cola(layer: FactorisedLinear) -> None:
    """A, B ~ N(0, a^2) with a^2 = 1/sqrt(r (i + o)); b ~ U(-1/sqrt(o), 1/sqrt(o)).

    Var(BA) = r a^4 = 1/(i + o), half of what Glorot's rule gives a dense weight.

    Source: the code of Liu 2025, arXiv 2502.10940 (github.com/alvin-zyl/CoLA), bias included.
    """
    std = (layer.rank * (layer.in_features + layer.out_features)) ** -0.25
    nn.init.normal_(layer.A, std=std)
    nn.init.normal_(layer.B, std=std)
    if layer.bias is not None:
        nn.init.uniform_(layer.bias, -1 / sqrt(layer.out_features), 1 / sqrt(layer.out_features))
