"""GaLore: the inner rule on a projected gradient."""

from collections.abc import Sequence

from torch import nn
from torch.optim import Optimizer

from lowrank_bench.optim.parts import Update
from lowrank_bench.optim.projected import Projected
from lowrank_bench.optim.projector import Projector, check_number


class GaLore(Projected):
    """W <- W - lr * alpha * P N(P^T G), N being the inner rule's direction.

    See projected.py for what is kept, and projector.py for `side`, `basis` and `update_gap`.
    Every update has rank r at most. `alpha` scales the projected parameters' rate alone.

    Source: Zhao 2024, arXiv 2403.03507, algorithm 2.
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
        side: str = "std",
        basis: str = "svd",
        moments: str = "keep",
        per_layer: bool = False,
    ) -> None:
        check_number("alpha", alpha)
        projector = Projector(rank=rank, update_gap=update_gap, side=side, basis=basis)
        super().__init__(
            inner, model, names, seed, projector=projector, moments=moments, per_layer=per_layer
        )
        self.alpha = alpha

    def move(self, u: Update) -> None:
        u.projection.add_back_(u.W, u.Z.data, u.lr * self.alpha)
