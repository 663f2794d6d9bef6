"""A frozen linear layer with a low-rank correction beside it."""

from math import sqrt
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, empty, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.adapter import Adapter
from lowrank_bench.layers.rank import check_positive, check_rank, is_number


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

    def __init__(
        self,
        base: nn.Linear,
        rank: int,
        alpha: float,
        dropout: float,
        rank_stabilized: bool = False,
    ) -> None:
        super().__init__(base)
        check_rank(rank, "method.adapter.rank")
        check_positive(alpha, "method.adapter.alpha")
        if not isinstance(rank_stabilized, bool):
            raise ConfigError(
                f"method.adapter.rank_stabilized={rank_stabilized}: must be true or false"
            )
        self.rank, self.alpha = rank, alpha
        self.scale = alpha / (sqrt(rank) if rank_stabilized else rank)
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

    @torch.no_grad()
    def reset_(self) -> None:
        self.B.zero_()

    def extra_repr(self) -> str:
        return f"rank={self.rank}, alpha={self.alpha:g}, scale={self.scale:g}"


def dropout_of(p: float) -> nn.Module:
    """Dropout at the input of a correction; none at all for 0.

    Raises: ConfigError for a share outside [0, 1).
    """
    if not (is_number(p) and 0 <= p < 1):
        raise ConfigError(f"method.adapter.dropout={p}: must lie in [0, 1)")
    return nn.Dropout(p) if p else nn.Identity()
