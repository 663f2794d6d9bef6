"""One frozen random pair of factors for all layers, scaled by vectors that train."""

from collections.abc import Sequence
from math import sqrt
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, empty, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.adapter import Adapter
from lowrank_bench.layers.dropout import dropout_of
from lowrank_bench.layers.rank import check_rank
from lowrank_bench.layers.swap import swap


class Projection(nn.Module):
    """The frozen A (r, i_max) and B (o_max, r) that layers share; each takes a corner.

    They are buffers outside of the state dict, since seed and shapes give them back.
    """

    A: Tensor
    B: Tensor

    def __init__(self, A: Tensor, B: Tensor) -> None:  # noqa: N803
        super().__init__()
        self.register_buffer("A", A, persistent=False)
        self.register_buffer("B", B, persistent=False)

    @classmethod
    def drawn(cls, rank: int, in_features: int, out_features: int, seed: int) -> Self:
        """A ~ U(+-sqrt(6 / i_max)), then B ~ U(+-sqrt(6 / r)), by a generator of their own."""
        check_rank(rank, "method.adapter.rank")
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise ConfigError(f"method.adapter.projection_seed={seed}: must be a whole number")
        generator = torch.Generator().manual_seed(seed)  # on the CPU, so that devices agree
        bound_A, bound_B = sqrt(6 / in_features), sqrt(6 / rank)
        A = empty(rank, in_features).uniform_(-bound_A, bound_A, generator=generator)
        B = empty(out_features, rank).uniform_(-bound_B, bound_B, generator=generator)
        return cls(A, B)


class VeRALinear(Adapter):
    """y = x W0^T + b + lambda_b * ((lambda_d * (drop(x) A^T)) B^T).

    x (..., i), W0 (o, i), A (r, i), B (o, r), lambda_d (r), lambda_b (o), y (..., o). Only the
    lambdas train. A and B are the corners of one pair as large as the largest target, so a
    change of targets may change them; there is no alpha.

    Source: Kopiczko 2023, eq. 2, arXiv 2310.11454; draw, order and default seed
    are PEFT's, which calls it `projection_prng_key`.
    Differs: A and B are never saved; they are drawn again from `projection_seed`, which the
    config holds, in single precision on the CPU. PEFT saves them unless told not to.
    Raises: ConfigError for a rank that is not a positive integer, a seed that is no integer, or a
    dropout outside [0, 1).
    """

    domain = "vera"
    roles: ClassVar = {"lambda_b": "lambda_b", "lambda_d": "lambda_d"}

    def __init__(self, base: nn.Linear, projection: Projection, dropout: float) -> None:
        super().__init__(base)
        self.projection = projection
        self.lambda_b = nn.Parameter(empty(base.out_features))  # (o)
        self.lambda_d = nn.Parameter(empty(projection.A.shape[0]))  # (r)
        self.dropout = dropout_of(dropout)

    @property
    def A(self) -> Tensor:  # noqa: N802
        return self.projection.A[:, : self.in_features]  # (r, i)

    @property
    def B(self) -> Tensor:  # noqa: N802
        return self.projection.B[: self.out_features]  # (o, r)

    def forward(self, x: Tensor) -> Tensor:
        h = F.linear(self.dropout(x), self.A) * self.lambda_d  # (..., r)
        return self.base(x).add_(F.linear(h, self.B) * self.lambda_b)

    def effective_weight(self) -> Tensor:
        """W0 + (lambda_b * B) (lambda_d * A) (o, i), the lambdas scaling rows."""
        B, A, _ = self.factors()
        return torch.addmm(self.base.weight, B, A)

    def factors(self) -> tuple[Tensor, Tensor, float]:
        return self.lambda_b.unsqueeze(-1) * self.B, self.lambda_d.unsqueeze(-1) * self.A, 1.0

    @torch.no_grad()
    def reset_(self) -> None:
        self.lambda_b.zero_()

    def extra_repr(self) -> str:
        return f"rank={len(self.lambda_d)}"

    @classmethod
    def replacing(
        cls, linear: nn.Linear, rank: int, dropout: float, projection_seed: int = 0
    ) -> Self:
        """A layer with a pair of its own, of its very shape."""
        shape = (linear.in_features, linear.out_features)
        return cls(linear, Projection.drawn(rank, *shape, projection_seed), dropout)

    @classmethod
    def adapt(cls, model: nn.Module, names: Sequence[str], **settings: Any) -> nn.Module:
        """Put such layers in the place of the named ones, all with the same storage of A and B.

        Raises: ConfigError for a setting that the layer does not know, or lacks.
        """
        cls._check_settings(settings)
        linears: dict[str, Any] = {name: model.get_submodule(name) for name in names}
        drawn = Projection.drawn(
            settings["rank"],
            max(linear.in_features for linear in linears.values()),
            max(linear.out_features for linear in linears.values()),
            settings.get("projection_seed", 0),
        )
        shared: dict[tuple[torch.device, torch.dtype], Projection] = {}
        for name, linear in linears.items():
            kind = (linear.weight.device, linear.weight.dtype)
            if kind not in shared:
                shared[kind] = Projection(drawn.A, drawn.B).to(*kind)
            swap(model, name, cls(linear, shared[kind], settings["dropout"]).to(*kind))
        return model
