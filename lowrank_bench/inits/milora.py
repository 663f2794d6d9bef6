"""The minor part of the weight trains, the rest stays."""

from lowrank_bench.inits.decompose import check_fits, signed_svd, take_from_base
from lowrank_bench.inits.domain import starts
from lowrank_bench.layers.lora import LoRALinear


@starts("adapter")
def milora(layer: LoRALinear) -> None:
    """`pissa` with the r smallest singular values of W0 in place of the largest.

    Source: Wang 2024, arXiv 2406.09044.
    Differs: the scale s is divided out of the factors, as in PEFT's PiSSA, so that W0 - s B A
    is the principal part whatever s is; signs are fixed (inits/decompose.py).
    Raises: ConfigError when the rank exceeds min(o, i).
    """
    check_fits("milora", layer.rank, layer.base.weight.shape)
    U, S, Vt = signed_svd(layer.base.weight)
    root = (S[-layer.rank :] / layer.scale).sqrt()
    take_from_base(layer, U[:, -layer.rank :] * root, root.unsqueeze(-1) * Vt[-layer.rank :])
