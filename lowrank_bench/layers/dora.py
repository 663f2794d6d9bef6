"""A low-rank correction of the direction of a weight, with a magnitude of its own."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, empty, nn

from lowrank_bench.layers.lora import LoRALinear
from lowrank_bench.precision import uncast

NARROW = 8  # an input this many times wider than the rank is never spanned by the factors


class DoRALinear(LoRALinear):
    """y = (m / |V|) * (x V^T) + b with V = W0 + s B A, the norm taken of each row.

    x (..., i), V (o, i), A (r, i), B (o, r), m and |V| (o), y (..., o); the bias stays outside
    of the scaling. |V| is recomputed in every forward and is a constant to autograd. m starts
    as |V|, so the layer computes what its base did; for |V| = 0 stands the smallest number.

    Source: Liu 2024, eq. 5 and section 4.3, arXiv 2402.09353.
    Differs: m is in R^out, one for each output row, PEFT's axis; the paper writes one for each
    column of its d x k weight. Dropout acts on the input of B A alone, as in LoRA: y = (m / |V|)
    * (x W0^T + s drop(x) A^T B^T) + b, where PEFT takes (m / |V| - 1) W0 on the dropped input
    and W0 on the whole one. Neither differs without dropout.
    Raises: ConfigError as LoRALinear.
    """

    roles: ClassVar = LoRALinear.roles | {"magnitude": "magnitude"}
    convolutional: ClassVar = None

    def __init__(
        self,
        base: nn.Linear,
        rank: int,
        alpha: float,
        dropout: float,
        rank_stabilized: bool = False,
    ) -> None:
        super().__init__(base, rank, alpha, dropout, rank_stabilized)
        self.magnitude = nn.Parameter(empty(base.out_features))  # m (o)
        self._squared: tuple[Tensor, int, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        z = self._corrected(F.linear(x, self.base.weight), x)  # x V^T (..., o)
        stretch = (self.magnitude / self.row_norm()).to(z.dtype)
        bias = self.base.bias
        return z * stretch if bias is None else z * stretch + bias.to(z.dtype)

    def effective_weight(self) -> Tensor:
        """W' = (m / |V|) V (o, i): its rows have norm |m|, and W' - W0 has any rank."""
        return (self.magnitude / self.row_norm()).unsqueeze(-1) * super().effective_weight()

    def factors(self) -> tuple[Tensor, Tensor, float]:
        raise TypeError("DoRALinear stretches the rows of its base too: no product of two factors")

    def finish_start(self) -> None:
        self._take_magnitude()

    @torch.no_grad()
    def reset_(self) -> None:
        super().reset_()
        self._take_magnitude()

    @torch.no_grad()
    def _take_magnitude(self) -> None:
        self.magnitude.copy_(self.row_norm())

    @torch.no_grad()
    def row_norm(self) -> Tensor:
        """|W0 + s B A| by row (o), a constant to autograd.

        Without forming the sum: |V|^2 = |W0|^2 + <B, 2 s W0 A^T + s^2 B (A A^T)> by row, where
        |W0|^2 is kept until the base changes. Where most of a row may cancel, that is where the
        factors can span most of the input, or in half precision, the sum is formed after all.
        """
        weight, A, B, s = self.base.weight, self.A, self.B, self.scale
        with uncast(weight.device):
            if weight.dtype.itemsize < 4 or weight.shape[1] < NARROW * self.rank:
                norm = torch.linalg.vector_norm(torch.addmm(weight, B, A, alpha=s), dim=-1)
            else:
                cross = torch.addmm(weight @ A.t(), B, A @ A.t(), beta=2 * s, alpha=s * s)  # (o, r)
                norm = (torch.linalg.vecdot(cross, B) + self._base_square()).clamp_(min=0).sqrt_()
        return norm.clamp_(min=torch.finfo(norm.dtype).tiny)

    def _base_square(self) -> Tensor:
        """|W0|^2 by row (o), computed anew after any change of the base."""
        weight = self.base.weight
        if torch.compiler.is_compiling():  # nothing may be kept from one call to the next
            return torch.linalg.vector_norm(weight, dim=-1).square()
        if (kept := self._squared) is not None:
            seen, version, square = kept
            same = seen.data_ptr() == weight.data_ptr() and seen.dtype == weight.dtype
            if same and version == weight._version:
                return square
        square = torch.linalg.vector_norm(weight, dim=-1).square()
        # Holding the tensor keeps its address from being given to another.
        self._squared = (weight.detach(), weight._version, square)
        return square
