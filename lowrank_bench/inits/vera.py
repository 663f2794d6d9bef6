"""Scales of shared random factors that start at no correction."""

from torch import nn

from lowrank_bench.inits.domain import starts
from lowrank_bench.layers.rank import check_positive
from lowrank_bench.layers.vera import VeRALinear


@starts("vera")
def vera(layer: VeRALinear, *, d_initial: float) -> None:
    """lambda_d = d_initial, lambda_b = 0, so the layer computes what its base did.

    Source: Kopiczko 2023, arXiv 2310.11454.
    Raises: ConfigError when d_initial is not a positive number.
    """
    check_positive(d_initial, "method.init.d_initial")
    nn.init.constant_(layer.lambda_d, d_initial)
    nn.init.zeros_(layer.lambda_b)
