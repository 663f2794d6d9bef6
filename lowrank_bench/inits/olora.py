"""An orthonormal basis of the weight's first columns trains, the rest stays."""

import torch

from lowrank_bench.inits.decompose import at_least_single, check_fits, take_from_base
from lowrank_bench.inits.domain import starts
from lowrank_bench.layers.lora import LoRALinear


@starts("adapter")
def olora(layer: LoRALinear) -> None:
    """B = Q_r, the first columns, A = R_r, the first rows, of W0 = Q R; W0 <- W0 - s B A.

    Source: Büyükakyüz 2024, arXiv 2406.01775.
    Differs: the diagonal of R is made positive, so that the factors do not depend on the
    library that decomposes. As in PEFT, the scale s is not divided out.
    Raises: ConfigError when the rank exceeds min(o, i).
    """
    check_fits("olora", layer.rank, layer.base.weight.shape)
    Q, R = torch.linalg.qr(at_least_single(layer.base.weight))
    signs = torch.where(R.diagonal() < 0, -1.0, 1.0).to(R.dtype)  # (k)
    Q, R = Q * signs, signs.unsqueeze(-1) * R
    take_from_base(layer, Q[:, : layer.rank], R[: layer.rank])
