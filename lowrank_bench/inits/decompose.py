"""Factors out of a decomposition, in place around a base that gives up what they carry."""

import torch
from torch import Tensor

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.lora import LoRALinear


def check_fits(init: str, rank: int, shape: torch.Size | tuple[int, int]) -> None:
    """Raise ConfigError when a matrix (o, i) has fewer than `rank` directions."""
    if rank > min(shape):
        raise ConfigError(
            f"method.adapter.rank={rank}: method.init={init} takes directions of a weight, and "
            f"one of {tuple(shape)} (out, in) has {min(shape)}; take at most that, or leave such "
            "layers out of method.targets"
        )


def signed_svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U (..., m, k), S (..., k), V^T (..., k, n) of a matrix (..., m, n), k = min(m, n).

    In single precision or better. The largest entry of each left vector is positive, so that
    the factors do not depend on the library that decomposes.
    """
    U, S, Vt = torch.linalg.svd(at_least_single(matrix), full_matrices=False)
    signs = U.gather(-2, U.abs().argmax(-2, keepdim=True)).sign()  # (..., 1, k)
    return U * signs, S, Vt * signs.mT


def at_least_single(matrix: Tensor) -> Tensor:
    """A copy or the matrix itself, in a type that linear algebra is made for."""
    return matrix.detach().to(torch.promote_types(matrix.dtype, torch.float32))


@torch.no_grad()
def take_from_base(layer: LoRALinear, factor_B: Tensor, factor_A: Tensor) -> None:  # noqa: N803
    """Fill B and A, and W0 <- W0 - s B A, so that the layer computes what it did.

    B (o, r), A (r, i). What is subtracted is the product of the factors as the layer holds
    them, rounded to its type, in single precision or better.
    """
    layer.B.copy_(factor_B)
    layer.A.copy_(factor_A)
    B, A = at_least_single(layer.B), at_least_single(layer.A)
    base = at_least_single(layer.base.weight)
    layer.base.weight.copy_(torch.addmm(base, B, A, alpha=-layer.scale))
