"""Factors that take the first step of full training."""

from math import sqrt

from torch import Tensor

from lowrank_bench.inits.decompose import check_fits, signed_svd, take_from_base
from lowrank_bench.inits.domain import starts
from lowrank_bench.layers.lora import LoRALinear
from lowrank_bench.layers.rank import check_positive


@starts("adapter", needs="gradient")
def lora_ga(layer: LoRALinear, *, gradient: Tensor, gamma: float) -> None:
    """A = c V^T_[1..r], B = c U_[r+1..2r] of dL/dW0 = U S V^T; W0 <- W0 - s B A.

    c = o^(1/4) / gamma^(1/2), so that the scale of the output does not depend on the width.
    A and B take different directions, so that the first step, whose change of the weight is
    -lr s^2 (B B^T G + G A^T A), is the best approximation of rank 2r to that of full training.
    Where 2r exceeds min(o, i), B takes the last r directions, and all are covered.

    Source: Wang 2024, algorithm 1, arXiv 2407.05000, and its code ("ArB2r",
    "stable", gamma 16). The paper's scale is alpha / sqrt(r): `rank_stabilized`.
    Differs: an exact decomposition with fixed signs, where the code takes a randomised one of
    rank 4r. PEFT multiplies B by the singular values of the gradient and leaves A unscaled,
    which neither the paper nor its code does.
    Raises: ConfigError when the rank exceeds min(o, i), or gamma is not positive.
    """
    check_fits("lora_ga", layer.rank, layer.base.weight.shape)
    check_positive(gamma, "method.init.gamma")
    U, S, Vt = signed_svd(gradient)
    first = min(layer.rank, len(S) - layer.rank)
    scale = layer.out_features**0.25 / sqrt(gamma)
    take_from_base(layer, scale * U[:, first : first + layer.rank], scale * Vt[: layer.rank])
