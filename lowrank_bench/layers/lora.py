"""A frozen linear layer with a low-rank correction beside it."""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, empty, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.rank import check_rank
from lowrank_bench.layers.swap import swap


class LoRALinear(nn.Module):
    """y = x W0^T + b + s (drop(x) A^T) B^T, with s = alpha / r.

    x (..., i), W0 (o, i), A (r, i), B (o, r), y (..., o). W0 and b stay in `base`; the
    factors start empty until an init fills them. The forward never forms W0 + s B A.

    Source: Hu 2021, eq. 3 and section 4.1, arXiv 2106.09685.
    Differs: no merging inside train() and eval(); `merge_` is called by who wants it.
    Raises: ConfigError for a rank that is not a positive integer or a dropout outside [0, 1).
    """

    domain = "adapter"
    roles: ClassVar = {"A": "lora_A", "B": "lora_B"}

    def __init__(self, base: nn.Linear, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        check_rank(rank, "method.adapter.rank")
        if not 0 <= dropout < 1:
            raise ConfigError(f"method.adapter.dropout={dropout}: must lie in [0, 1)")
        self.base = base
        self.rank, self.alpha, self.scale = rank, alpha, alpha / rank
        self.A = nn.Parameter(empty(rank, base.in_features))  # (r, i)
        self.B = nn.Parameter(empty(base.out_features, rank))  # (o, r)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        correction = F.linear(F.linear(self.dropout(x), self.A), self.B)  # (..., o)
        return self.base(x).add(correction, alpha=self.scale)

    def effective_weight(self) -> Tensor:
        """The same map as a dense weight (o, i), dropout aside."""
        return self.base.weight + self.scale * self.B @ self.A

    @torch.no_grad()
    def reset_(self) -> None:
        """Back to a correction of zero around the present base."""
        self.B.zero_()

    @torch.no_grad()
    def merge_(self) -> None:
        """W0 <- W0 + s B A, then a correction of zero."""
        self.base.weight.copy_(self.effective_weight())
        self.reset_()

    def extra_repr(self) -> str:
        return f"rank={self.rank}, alpha={self.alpha:g}"

    @classmethod
    def adapt(
        cls, model: nn.Module, names: Sequence[str], *, rank: int, alpha: float, dropout: float
    ) -> nn.Module:
        """Put the layer around the named nn.Linear layers of `model`."""
        for name in names:
            base = model.get_submodule(name)
            assert isinstance(base, nn.Linear)
            layer = cls(base, rank, alpha, dropout)
            swap(model, name, layer.to(device=base.weight.device, dtype=base.weight.dtype))
        return model
