"""A linear map whose weight *is* a product of two factors."""

from typing import ClassVar, Self

import torch.nn.functional as F
from torch import Tensor, empty, nn

from lowrank_bench.layers.layer import Layer
from lowrank_bench.layers.rank import check_rank


class FactorisedLinear(Layer):
    """y = (x A^T) B^T + b, that is W = B A.

    x (..., i), A (r, i), B (o, r), b (o), y (..., o). Nothing is frozen and there is no base
    weight, so the init *is* the experiment; the factors start empty until one fills them.
    A rank above min(i, o) adds parameters but no functions; it is permitted, since published
    sweeps contain it.

    Source: the "LoRA layer" of github.com/mathmerizing/LoRALinear, whose letters are swapped
    (it writes W = A B), and its autoencoder layer, which is the same map.
    Differs: any number of leading dimensions, where the source takes two-dimensional input.
    Raises: ConfigError when the rank is not a positive integer.
    """

    domain = "factorised"
    roles: ClassVar = {"A": "factor_A", "B": "factor_B", "bias": "bias"}

    def __init__(self, in_features: int, out_features: int, rank: int, bias: bool = True) -> None:
        super().__init__()
        check_rank(rank, "method.adapter.rank")
        self.in_features, self.out_features, self.rank = in_features, out_features, rank
        self.A = nn.Parameter(empty(rank, in_features))  # (r, i)
        self.B = nn.Parameter(empty(out_features, rank))  # (o, r)
        self.bias = nn.Parameter(empty(out_features)) if bias else None  # (o)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(x, self.A), self.B, self.bias)

    def effective_weight(self) -> Tensor:
        """The same map as a dense weight (o, i)."""
        return self.B @ self.A

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, rank={self.rank}"

    @classmethod
    def replacing(cls, linear: nn.Linear, rank: int) -> Self:
        """A layer of the same shape; nothing of the dense weight survives."""
        return cls(linear.in_features, linear.out_features, rank, linear.bias is not None)
