"""Singular vectors drawn small, singular values of zero."""

from torch import nn

from lowrank_bench.inits.domain import starts
from lowrank_bench.layers.rank import check_positive
from lowrank_bench.layers.svd import SVDLinear


@starts("svd")
def svd_gaussian(layer: SVDLinear, *, std: float) -> None:
    """P, Q ~ N(0, std^2), lam = 0, so the layer computes what its base did.

    The first update moves lam alone, as far as the task goes: P and Q get their gradients
    through lam.

    Source: Zhang 2023, section 3.1, arXiv 2303.10512; std = 0.02 is its code's.
    Raises: ConfigError when std is not a positive number.
    """
    check_positive(std, "method.init.std")
    nn.init.normal_(layer.P, std=std)
    nn.init.normal_(layer.Q, std=std)
    nn.init.zeros_(layer.lam)
