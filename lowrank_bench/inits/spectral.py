"""Factors as near as their rank allows to the dense weight that they replace."""

import torch
from torch import nn

from lowrank_bench.inits.decompose import check_fits, signed_svd
from lowrank_bench.inits.domain import starts
from lowrank_bench.layers.factorised import FactorisedLinear


@starts("factorised", needs="dense")
@torch.no_grad()
def spectral(layer: FactorisedLinear, *, dense: nn.Linear) -> None:
    """B = U_r S_r^(1/2), A = S_r^(1/2) V_r^T of the replaced W = U S V^T; its bias is kept.

    B A is the best approximation of rank r to W, and both factors have the same size. At
    r = min(o, i) the layer computes what the dense one did.

    Source: Khodak 2021, "spectral initialization", arXiv 2105.01029.
    Raises: ConfigError when the rank exceeds min(o, i).
    """
    check_fits("spectral", layer.rank, dense.weight.shape)
    U, S, Vt = signed_svd(dense.weight)
    root = S[: layer.rank].sqrt()
    layer.B.copy_(U[:, : layer.rank] * root)
    layer.A.copy_(root.unsqueeze(-1) * Vt[: layer.rank])
    if layer.bias is not None:
        layer.bias.copy_(dense.bias)
