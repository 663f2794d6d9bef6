"""A frozen linear layer with a low-rank correction beside it."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, empty, nn

from lowrank_bench.layers.adapter import Adapter
from lowrank_bench.layers.conv_lora import ConvLoRA
from lowrank_bench.layers.dropout import dropout_of
from lowrank_bench.layers.rank import scale_of


class LoRALinear(Adapter):
    """y = x W0^T + b + s (drop(x) A^T) B^T, with s = alpha / r, or alpha / sqrt(r).

    x (..., i), W0 (o, i), A (r, i), B (o, r), y (..., o). W0 and b stay in `base`; the
    factors start empty until an init fills them. The forward never forms W0 + s B A, and adds
    the correction to the base's output within the product by B.

    Source: Hu 2021, eq. 3 and section 4.1, arXiv 2106.09685; with `rank_stabilized`, the scale
    of Kalajdzievski 2023, theorem 3.2, arXiv 2312.03732.
    Differs: no merging inside train() and eval(); `merge_` is called by who wants it.
    Raises: ConfigError for a rank that is not a positive integer, an alpha that is not a positive
    number, or a dropout outside [0, 1).
    """

    domain = "adapter"
    roles: ClassVar = {"A": "lora_A", "B": "lora_B"}
    convolutional: ClassVar = ConvLoRA

    def __init__(
        self,
        base: nn.Linear,
        rank: int,
        alpha: float,
        dropout: float,
        rank_stabilized: bool = False,
    ) -> None:
        super().__init__(base)
        self.rank, self.alpha = rank, alpha
        self.scale = scale_of(rank, alpha, rank_stabilized)
        self.A = nn.Parameter(empty(rank, base.in_features))  # (r, i)
        self.B = nn.Parameter(empty(base.out_features, rank))  # (o, r)
        self.dropout = dropout_of(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self._corrected(self.base(x), x)

    def _corrected(self, y: Tensor, x: Tensor) -> Tensor:
        """y + s (drop(x) A^T) B^T (..., o)."""
        h = F.linear(self.dropout(x), self.A)  # (..., r)
        if y.dim() == 2:
            return torch.addmm(y, h, self.B.t(), alpha=self.scale)
        flat, h = y.reshape(-1, y.shape[-1]), h.reshape(-1, h.shape[-1])
        return torch.addmm(flat, h, self.B.t(), alpha=self.scale).view(y.shape)

    def effective_weight(self) -> Tensor:
        """The same map as a dense weight (o, i), dropout aside."""
        return torch.addmm(self.base.weight, self.B, self.A, alpha=self.scale)

    def factors(self) -> tuple[Tensor, Tensor, float]:
        return self.B, self.A, self.scale

    @torch.no_grad()
    def reset_(self) -> None:
        self.B.zero_()

    def extra_repr(self) -> str:
        return f"rank={self.rank}, alpha={self.alpha:g}, scale={self.scale:g}"
