"""Random projections: from a few numbers to very many, without storing a matrix."""

from functools import cache

import torch
from torch import Generator, Tensor, nn

RADIX = 64  # largest Hadamard matrix multiplied by at once


def fwht(x: Tensor) -> Tensor:
    """The Walsh-Hadamard transform H x of each (..., l), l a power of two; H^T = H, H H = l I.

    H_l is the Kronecker product of small Hadamard matrices, so each pass multiplies one digit
    of the index and brings the next to the end: l log l in all, and matrix products throughout
    (for 2^19 numbers 9 ms, where pairwise sums take 15; in rows of 512 2.7 against 11).
    """
    size = x.shape[-1]
    rest = size
    drawn = hadamard.__wrapped__ if torch.compiler.is_compiling() else hadamard
    while rest > 1:
        digit = min(RADIX, rest)
        x = x.unflatten(-1, (size // digit, digit)) @ drawn(digit, x.dtype, x.device)
        x = x.mT.flatten(-2)
        rest //= digit
    return x


@cache
@torch.inference_mode(False)  # the first call may be an evaluation's, the next a training's
def hadamard(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Sylvester's Hadamard matrix (size, size), of 1 and -1; size is a power of two."""
    pair = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=dtype, device=device)
    matrix = torch.ones(1, 1, dtype=dtype, device=device)
    while len(matrix) < size:
        matrix = torch.kron(matrix, pair)
    return matrix


class Fastfood(nn.Module):
    """P z (D) for z (d), where P stacks blocks S H G Pi H B of l rows, l = 2^ceil(log2 d).

    In each block B is diagonal with random signs, Pi a random permutation, G diagonal and
    Gaussian, H the Hadamard matrix; z is padded with zeros to l, and the last block is cut to
    what is needed. S is the one number that gives the columns of P an expected norm of 1; it is
    exactly 1 where l divides D. Time D log d, memory 3 D.

    Source: Le, Sarlos and Smola 2013 (Fastfood); with S a number as Li 2018, arXiv 1804.08838,
    and Aghajanyan 2020, arXiv 2012.13255, have it.
    Differs: blocks of l rows as in the first, where the code of the last takes one block of D
    rows padded up to a power of two.
    """

    signs: Tensor
    order: Tensor
    gauss: Tensor

    def __init__(self, size: int, dimension: int) -> None:
        super().__init__()
        self.size = size
        self.padding = (1 << (dimension - 1).bit_length()) - dimension
        length = dimension + self.padding  # l
        blocks = -(-size // length)
        # Not in checkpoints: the seed that they are drawn from is.
        self.register_buffer("signs", torch.ones(blocks, length), persistent=False)
        self.register_buffer("gauss", torch.ones(blocks, length), persistent=False)
        order = torch.arange(blocks * length)
        self.register_buffer("order", order, persistent=False)  # places in the flattened blocks

    @torch.no_grad()
    def draw(self, generator: Generator) -> None:
        blocks, length = self.signs.shape
        self.signs.copy_(torch.randint(2, (blocks, length), generator=generator) * 2 - 1)
        within = torch.rand(blocks, length, generator=generator).argsort(1)
        self.order.copy_((within + length * torch.arange(blocks).unsqueeze(1)).flatten())
        gauss = torch.randn(blocks, length, generator=generator)
        # Over whole blocks each column has the squared norm l sum(g^2).
        self.gauss.copy_(gauss / (gauss.square().sum() * self.size / blocks).sqrt())

    def forward(self, z: Tensor) -> Tensor:
        mixed = fwht(self.signs * nn.functional.pad(z, (0, self.padding)))  # (blocks, l)
        shuffled = mixed.flatten().index_select(0, self.order).view_as(mixed)
        return fwht(self.gauss * shuffled).flatten()[: self.size]


class Dense(nn.Module):
    """P z (D) for z (d), P Gaussian with columns of norm 1. Time and memory D d.

    Source: Li 2018, section 2, arXiv 1804.08838.
    """

    matrix: Tensor

    def __init__(self, size: int, dimension: int) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.zeros(size, dimension), persistent=False)

    @torch.no_grad()
    def draw(self, generator: Generator) -> None:
        matrix = torch.randn(self.matrix.shape, generator=generator)
        self.matrix.copy_(matrix / matrix.norm(dim=0))

    def forward(self, z: Tensor) -> Tensor:
        return self.matrix @ z
