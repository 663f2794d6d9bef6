"""A frozen linear layer with a correction in the form of a singular value decomposition."""

from math import ceil
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, empty, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.adapter import Adapter
from lowrank_bench.layers.dropout import dropout_of
from lowrank_bench.layers.rank import check_positive, check_rank, is_number


class SVDLinear(Adapter):
    """y = x W0^T + b + s ((drop(x) Q^T) * lam) P^T, that is W = W0 + s P diag(lam) Q.

    x (..., i), W0 (o, i), P (o, r), lam (r), Q (r, i), y (..., o); s = alpha / r, constant
    however many triplets are pruned. Triplet k is column k of P, lam_k and row k of Q; it is
    pruned by a lam_k of zero. `active` (r) is the mask that was applied last, all true until a
    rank budget (hooks/rank_budget.py) writes it: a buffer, so that it survives a checkpoint.

    Source: Zhang 2023, eq. 3, arXiv 2303.10512. The paper has no scale; alpha is its code's.
    Differs: the code and PEFT divide by r + 1e-5, a part of 1e-5 / r less; their names for
    P, lam, Q are lora_B, lora_E, lora_A.
    Raises: ConfigError as LoRALinear.
    """

    domain = "svd"
    roles: ClassVar = {"P": "svd_P", "lam": "lambda", "Q": "svd_Q"}
    active: Tensor

    def __init__(self, base: nn.Linear, rank: int, alpha: float, dropout: float) -> None:
        super().__init__(base)
        check_rank(rank, "method.adapter.rank")
        check_positive(alpha, "method.adapter.alpha")
        self.rank, self.alpha, self.scale = rank, alpha, alpha / rank
        self.P = nn.Parameter(empty(base.out_features, rank))  # (o, r)
        self.lam = nn.Parameter(empty(rank))  # (r)
        self.Q = nn.Parameter(empty(rank, base.in_features))  # (r, i)
        self.register_buffer("active", torch.ones(rank, dtype=torch.bool))  # (r)
        self.dropout = dropout_of(dropout)

    @classmethod
    def replacing(
        cls, linear: nn.Linear, rank: Any, rank_factor: Any, alpha: float, dropout: float
    ) -> Self:
        """A layer that begins with ceil(rank_factor * rank) triplets, `rank` being the budget."""
        check_rank(rank, "method.adapter.rank")
        if not is_number(rank_factor) or rank_factor < 1:
            raise ConfigError(f"method.adapter.rank_factor={rank_factor}: must be a number from 1")
        initial = ceil(round(rank_factor * rank, 6))  # 1.1 * 10 is 11 triplets, not 12
        return cls(linear, initial, alpha, dropout)

    @property
    def active_rank(self) -> int:
        """How many triplets the last mask left."""
        return int(self.active.sum())

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])  # (n, i)
        # Scaled where it is narrow, and added within the product by P.
        h = F.linear(self.dropout(flat), self.Q) * (self.scale * self.lam)  # (n, r)
        return torch.addmm(self.base(flat), h, self.P.T).view(*x.shape[:-1], self.out_features)

    def effective_weight(self) -> Tensor:
        """The same map as a dense weight (o, i), dropout aside."""
        return self.base.weight + (self.P * (self.scale * self.lam)) @ self.Q

    def factors(self) -> tuple[Tensor, Tensor, float]:
        """P diag(lam), Q and s, the pruned triplets left out."""
        kept = self.lam != 0
        return self.P[:, kept] * self.lam[kept], self.Q[kept], self.scale

    @torch.no_grad()
    def reset_(self) -> None:
        self.lam.zero_()

    @torch.no_grad()
    def compact_(self) -> None:
        """Drop the triplets of lam = 0; the function and s stay.

        For a model that is done with training: the parameters are new ones, of rank
        `self.rank`, which may become 0, and no optimizer knows them.
        """
        kept = self.lam != 0
        self.P = nn.Parameter(self.P[:, kept], self.P.requires_grad)
        self.lam = nn.Parameter(self.lam[kept], self.lam.requires_grad)
        self.Q = nn.Parameter(self.Q[kept], self.Q.requires_grad)
        self.active, self.rank = self.active[kept], int(kept.sum())

    def extra_repr(self) -> str:
        return (
            f"rank={self.rank}, active={self.active_rank}, alpha={self.alpha:g}, "
            f"scale={self.scale:g}"
        )
