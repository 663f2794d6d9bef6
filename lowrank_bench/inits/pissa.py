"""The principal part of the weight trains, the rest stays."""

from lowrank_bench.inits.decompose import check_fits, signed_svd, take_from_base
from lowrank_bench.inits.domain import starts
from lowrank_bench.layers.lora import LoRALinear


@starts("adapter")
def pissa(layer: LoRALinear) -> None:
    """B = U_r (S_r/s)^(1/2), A = (S_r/s)^(1/2) V_r^T of W0 = U S V^T; W0 <- W0 - s B A.

    Source: Meng 2024, eq. 2 to 4, arXiv 2404.02948, which sets s = 1.
    Differs: an exact decomposition whose signs are fixed (inits/decompose.py); a scale other
    than 1 is divided out, as in PEFT. Factors have the type of the weight, which should be
    single precision. Weight decay here shrinks W itself, not a change of it.
    Raises: ConfigError when the rank exceeds min(o, i).
    """
    check_fits("pissa", layer.rank, layer.base.weight.shape)
    U, S, Vt = signed_svd(layer.base.weight)
    root = (S[: layer.rank] / layer.scale).sqrt()
    take_from_base(layer, U[:, : layer.rank] * root, root.unsqueeze(-1) * Vt[: layer.rank])
