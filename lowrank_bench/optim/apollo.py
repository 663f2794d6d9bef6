"""APOLLO: the whole gradient, scaled by what Adam does to a random sketch of it."""

from collections.abc import Sequence
from math import sqrt

import torch
from torch import nn
from torch.optim import Optimizer

from lowrank_bench.errors import ConfigError
from lowrank_bench.optim.fira import EPS, channel_dim, channel_scale, limited
from lowrank_bench.optim.limiter import Limiter, channel_norms
from lowrank_bench.optim.parts import Update
from lowrank_bench.optim.projected import Projected
from lowrank_bench.optim.projector import Projector, check_number

SCALE_TYPES = ("channel", "tensor")


class Apollo(Projected):
    """W <- W - lr * sqrt(scale) * limit(phi * G), phi = |N| / (|R| + 1e-8).

    R = P^T G with P drawn from N(0, 1/r), N the inner rule's direction on R, and norms are taken
    of each channel along the longer axis (`channel`) or of the whole (`tensor`: APOLLO-Mini).
    The update needs P for these norms alone, so only the seed of P is kept and P is drawn again
    at every update, as the paper has it; apollo-torch keeps P. `limit` is limiter.py's on the
    whole update, off with `growth: null`; `scale_front` puts sqrt(scale) inside it.

    The reference lets the rank pass the shorter side; here it is clipped (`clipped_rank`).

    Source: Zhu 2024, arXiv 2412.05270, algorithm 1 and section 4.2.
    Raises: ConfigError for a side other than std, which would scale the wrong axis.
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
        scale: float,
        scale_type: str,
        growth: float | None,
        side: str = "std",
        basis: str = "gaussian",
        moments: str = "keep",
        scale_front: bool = False,
        per_layer: bool = False,
    ) -> None:
        if side != "std":
            raise ConfigError(f"method.transform.side={side}: APOLLO scales channels of std alone")
        if scale_type not in SCALE_TYPES:
            raise ConfigError(
                f"method.transform.scale_type={scale_type}: must be one of {', '.join(SCALE_TYPES)}"
            )
        check_number("scale", scale)
        projector = Projector(rank=rank, update_gap=update_gap, side=side, basis=basis)
        super().__init__(
            inner, model, names, seed, projector=projector, moments=moments, per_layer=per_layer
        )
        self.by_channel, self.root = scale_type == "channel", sqrt(scale)
        self.scale_front = scale_front
        self.limiter = None if growth is None else Limiter(growth)

    def move(self, u: Update) -> None:
        if self.by_channel:
            dim = channel_dim(u)
            phi, norms = channel_scale(u, dim), channel_norms(u.G, dim)
        else:
            norm = torch.linalg.vector_norm
            phi, norms = norm(u.Z.data) / u.factor / (norm(u.R) + EPS), norm(u.G)
        if self.scale_front:
            phi = limited(self.limiter, u, phi * self.root, norms)
        else:
            phi = limited(self.limiter, u, phi, norms) * self.root
        u.W.addcmul_(u.G, phi, value=-u.lr * u.factor)
