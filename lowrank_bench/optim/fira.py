"""Fira: GaLore, plus the rest of the gradient at the inner rule's scale."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lowrank_bench.errors import ConfigError
from lowrank_bench.optim.limiter import Limiter, channel_norms
from lowrank_bench.optim.parts import Update
from lowrank_bench.optim.projected import Projected
from lowrank_bench.optim.projector import Projector, check_number

EPS = 1e-8


class Fira(Projected):
    """W <- W - lr * (alpha P N + limit(phi * (G - P R))).

    phi_j = |N_j| / (|R_j| + 1e-8) by channel j, the axis that is not projected: what the inner
    rule did to the norm of the gradient inside the space is done to the gradient outside it.
    `limit` is limiter.py's. N is taken before Adam's bias correction, which the whole update
    then gets, where the rule tells the two apart (AdamWHF).

    The reference subtracts alpha P R and so leaves 1 - alpha of the gradient inside the space in
    what should be the rest; `scaled_residual` does the same. Where the first gradient lies in
    the space (rank >= batch size), the limiter holds the rest near 0 for long, as it does there.

    Source: Chen 2024, arXiv 2410.01623, algorithm 1.
    Raises: ConfigError for side=full, where no axis is left for channels.
    """

    def __init__(
        self,
        inner: Optimizer,
        model: nn.Module,
        names: Sequence[str],
        seed: int,
        *,
        rank: int,
        update_gap: int,
        alpha: float,
        growth: float | None,
        side: str = "std",
        basis: str = "svd",
        moments: str = "keep",
        scaled_residual: bool = False,
        per_layer: bool = False,
    ) -> None:
        if side == "full":
            raise ConfigError("method.transform.side=full: leaves Fira no axis for its channels")
        check_number("alpha", alpha)
        projector = Projector(rank=rank, update_gap=update_gap, side=side, basis=basis)
        super().__init__(
            inner, model, names, seed, projector=projector, moments=moments, per_layer=per_layer
        )
        self.alpha, self.scaled_residual = alpha, scaled_residual
        self.limiter = None if growth is None else Limiter(growth)

    def move(self, u: Update) -> None:
        dim = channel_dim(u)
        rest = u.G.clone()  # (m, n)
        u.projection.add_back_(rest, u.R, -self.alpha if self.scaled_residual else -1.0)
        phi = channel_scale(u, dim)  # (m, 1) or (1, n)
        phi = limited(self.limiter, u, phi, channel_norms(rest, dim))
        u.projection.add_back_(u.W, u.Z.data, u.lr * self.alpha)
        u.W.addcmul_(rest, phi, value=-u.lr * u.factor)


def channel_dim(u: Update) -> int:
    """The axis along which norms of channels are taken: 0 for columns, 1 for rows."""
    return 0 if u.projection.Q is None else 1


def channel_scale(u: Update, dim: int) -> Tensor:
    """phi by channel, (m, 1) or (1, n)."""
    return channel_norms(u.Z.data, dim) / u.factor / (channel_norms(u.R, dim) + EPS)


def limited(limiter: Limiter | None, u: Update, phi: Tensor, norms: Tensor) -> Tensor:
    """phi, divided so that the norm of phi * X does not jump; `norms` are those of X's channels."""
    if limiter is None:
        return phi
    norm = torch.linalg.vector_norm(phi * norms)
    divisor, u.own["last_norm"] = limiter(norm, u.own.get("last_norm"))
    return phi / divisor
