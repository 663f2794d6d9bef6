"""A dense weight at the variance of a low-rank product: the other control for scale."""

from math import sqrt

from torch import nn

from lowrank_bench.inits.domain import starts
from lowrank_bench.layers.rank import check_rank


@starts("dense")
def product_variance(layer: nn.Linear, *, rank: int) -> None:
    """W ~ U(-a, a) with a = 1/sqrt(3r); b ~ U(-1/sqrt(i), 1/sqrt(i)).

    Var(W) = 1/(9r), exactly that of `rank_uniform`'s product at this rank.

    Source: this benchmark, so that "factorised or dense" and "large or small" come apart.
    Raises: ConfigError when the rank is not a positive integer.
    """
    check_rank(rank, "method.init.rank")
    bound = 1 / sqrt(3 * rank)
    nn.init.uniform_(layer.weight, -bound, bound)
    if layer.bias is not None:
        nn.init.uniform_(layer.bias, -1 / sqrt(layer.in_features), 1 / sqrt(layer.in_features))
