"""Two factors with a non-linearity between them."""

from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.factorised import FactorisedLinear
from lowrank_bench.names import hint

ACTIVATIONS = {"silu": F.silu, "relu": F.relu, "gelu": F.gelu, "tanh": F.tanh, "identity": None}


class CoLALinear(FactorisedLinear):
    """y = act(x A^T) B^T + b.

    x (..., i), A (r, i), B (o, r), b (o), y (..., o). Without bias, y lies in the r columns of
    B. No dense weight computes the same, so `mergeable` is False, unless `activation` is
    "identity": then this is FactorisedLinear. Inits of factorised layers fit.

    Source: Liu 2025, arXiv 2502.10940.
    Differs: the non-linearities of the model itself stay where they are, as in the paper's two
    smallest models; the larger ones drop them.
    Raises: ConfigError for a rank that is not a positive integer, or an unknown activation.
    """

    def __init__(
        self, in_features: int, out_features: int, rank: int, activation: str, bias: bool = True
    ) -> None:
        super().__init__(in_features, out_features, rank, bias)
        if activation not in ACTIVATIONS:
            raise ConfigError(
                f"method.adapter.activation={activation}: there is no such activation"
                f"{hint(str(activation), ACTIVATIONS)}"
            )
        self.activation = activation
        self.mergeable = activation == "identity"

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.linear(x, self.A)  # (..., r)
        if (act := ACTIVATIONS[self.activation]) is not None:
            hidden = act(hidden)
        return F.linear(hidden, self.B, self.bias)

    def effective_weight(self) -> Tensor:
        """The same map as a dense weight (o, i).

        Raises: TypeError when an activation stands between the factors.
        """
        if not self.mergeable:
            raise TypeError(f"CoLALinear with activation={self.activation} has no dense weight")
        return super().effective_weight()

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, activation={self.activation}"

    @classmethod
    def replacing(cls, linear: nn.Linear, rank: int, activation: str) -> Self:
        """A layer of the same shape; nothing of the dense weight survives."""
        bias = linear.bias is not None
        return cls(linear.in_features, linear.out_features, rank, activation, bias)
