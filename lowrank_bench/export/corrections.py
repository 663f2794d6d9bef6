"""What a run added to the weights of its base, as products of two factors."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lowrank_bench.layers.dora import DoRALinear
from lowrank_bench.layers.lora import LoRALinear

MORE = 8  # columns beyond a guess of the rank, by which a random sketch finds it surely


class Correction(NamedTuple):
    """W - W0 = scale B A, with B (o, r) and A (r, i)."""

    B: Tensor
    A: Tensor
    scale: float
    as_trained: bool  # the factors are the layer's own


@torch.no_grad()
def correction(layer: Any, start: Tensor) -> Correction:
    """What `layer` adds to the weight W0 = `start` (o, i) that its base began with.

    Where the base still is W0: the layer's own factors. Where an init or a restart moved it
    (PiSSA, MiLoRA, OLoRA, LoRA-GA, ReLoRA): B = U S^(1/2) and A = S^(1/2) V^T of
    (base - W0) + s B A, to its numerical rank, and scale 1. So for convolutions too, whose kernels
    loralib takes for another matrix than PEFT's (o, i k k). For DoRA it is that of the direction,
    which its magnitude then stretches.
    Raises: TypeError for a layer that adds no product of two factors.
    """
    own = LoRALinear.factors(layer) if isinstance(layer, DoRALinear) else layer.factors()
    base, (B, A, scale) = layer.base.weight, own
    if torch.equal(base, start) and base.ndim == 2:
        return Correction(B, A, scale, as_trained=True)
    product = scale * B.double() @ A.double()
    change = (base.double() - start.double() + product.view_as(base)).flatten(1)  # (o, i)
    # Moving a base rounds each of its entries: noise whose spectral norm is at most
    sizes = sum(n**0.5 for n in change.shape)
    largest = float(torch.maximum(base.abs().max(), start.abs().max()))
    noise = torch.finfo(base.dtype).eps * largest * sizes
    B, A = (factor.to(base.dtype) for factor in factored(change, noise, guess=2 * len(A)))
    return Correction(B, A, 1.0, as_trained=False)


def factored(change: Tensor, noise: float, guess: int) -> tuple[Tensor, Tensor]:
    """B (o, r) and A (r, i) with B A = `change` (o, i) up to singular values of `noise`.

    A sketch of `guess` columns and some more, then of twice as many, until what it leaves out is
    below the noise: the weights of a language model are too large to be decomposed whole.
    Source: Halko 2011, algorithm 5.1, arXiv 0909.4061 (torch.svd_lowrank).
    """
    size = guess + MORE
    while True:
        if 2 * size >= min(change.shape):
            U, values, Vt = torch.linalg.svd(change, full_matrices=False)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                U, values, V = torch.svd_lowrank(change, q=size, niter=4)
            Vt = V.T
        rank = int((values > noise).sum())
        if rank < size or 2 * size >= min(change.shape):
            root = values[:rank].sqrt()
            return U[:, :rank] * root, root.unsqueeze(-1) * Vt[:rank]
        size *= 2
