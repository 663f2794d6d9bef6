"""A budget of rank that falls, and goes to the triplets that matter."""

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.svd import SVDLinear
from lowrank_bench.optim.importance import (
    Averages,
    attach,
    averages,
    keep_largest,
    mask,
    parts,
    smooth,
    triplet_scores,
)
from lowrank_bench.penalties.orthogonality import residuals
from lowrank_bench.receipt import Receipt, receipt
from lowrank_bench.spans import span

KEY = "method.hooks.rank_budget"


class RankBudget:
    """AdaLoRA's allocator: after some updates, all but b(u) triplets get lam = 0.

    With u the update, T their number, b0 the triplets there are and bT = target_rank * layers:

        u <= start:              no mask
        start < u < T - final:   b(u) = floor(bT + (b0 - bT) c^3), a mask where u mod interval = 0,
                                 c = 1 - (u - start) / (T - final - start)
        T - final <= u:          bT; the pattern of update T - final, after every update

    A mask keeps the b(u) triplets of the largest score (optim/importance.py) over all layers,
    exactly so many; of equal scores the first in the model's order. It follows the update.
    Factors, averages and moments of a masked triplet live on, so that between two masks it may
    come back. The averages are in optimizer.state[p], the pattern in each layer's `active`; an
    update whose gradients are not finite is left out of the scores. All that is decided follows
    from synchronised gradients, so DDP's ranks agree.

    Source: Zhang 2023, section 3.2 and algorithm 1, arXiv 2303.10512. The cubic is its code's:
    the printed one exceeds b0 at first and jumps at the end.
    Differs: both codes score a parameter after the update by its gradient before it
    (`score_after_step`), the paper and we both of the same update. Where scores tie, theirs
    drop all. In the final phase the original ranks frozen scores anew each time, which gives
    the pattern of T - final; PEFT fixes the pattern at that update, or crashes where it was
    jumped over; we fix it at the first update that comes.
    Raises: ConfigError for spans that leave no phase between them, or a target that is not below
    the initial rank. Under 16-mixed, gradients are scored as they are scaled.
    """

    def __init__(
        self,
        target_rank: int,
        start: float,
        final: float,
        interval: float,
        beta1: float,
        beta2: float,
        score_after_step: bool,
    ) -> None:
        if isinstance(target_rank, bool) or not isinstance(target_rank, int) or target_rank < 1:
            raise ConfigError(f"{KEY}.target_rank={target_rank}: must be a positive integer")
        for name, beta in (("beta1", beta1), ("beta2", beta2)):
            if not isinstance(beta, int | float) or not 0 <= beta < 1:
                raise ConfigError(f"{KEY}.{name}={beta}: must lie in [0, 1)")
        self.target_rank, self.beta1, self.beta2 = target_rank, beta1, beta2
        self.score_after_step = score_after_step
        self._spans = {"start": start, "final": final, "interval": interval}
        self._forget()

    def _forget(self) -> None:
        self._model: nn.Module | None = None
        self._pending: Averages | None = None  # of the first update, until the optimizer has state
        self._fixed = False  # whether this process has seen to the final pattern
        self.findings = {"masks": 0, "unscored": 0}

    def plan(self, num_updates: int, seed: int) -> None:
        """Place the phases. Raises: ConfigError when they do not fit into training."""
        self._forget()
        start, final, interval = (
            span(f"{KEY}.{name}", value, num_updates) for name, value in self._spans.items()
        )
        if final < 1 or start >= num_updates - final:
            raise ConfigError(
                f"{KEY}: start={self._spans['start']} ({start} updates) and "
                f"final={self._spans['final']} ({final}, at least 1) must leave some of the "
                f"{num_updates} updates for the budget to fall"
            )
        self.num_updates, self.start, self.final_from = num_updates, start, num_updates - final
        self.interval = max(1, interval)

    def check(self, model: nn.Module) -> None:
        """Raises: ConfigError when the model has nothing to prune down to the target."""
        layers = {name: m for name, m in model.named_modules() if isinstance(m, SVDLinear)}
        if not layers:
            raise ConfigError(f"{KEY}: prunes the triplets of SVD layers, and there are none (svd)")
        for name, layer in layers.items():
            if not all(part.requires_grad for part in parts([layer])):
                raise ConfigError(f"{KEY}: needs P, lam and Q of '{name}' to train")
        initial = sum(layer.rank for layer in layers.values())
        if self.target_rank * len(layers) >= initial:
            raise ConfigError(
                f"{KEY}.target_rank={self.target_rank}: must be below the rank that the layers "
                f"begin with, {initial / len(layers):g} (method.adapter.rank_factor above 1)"
            )

    def budget(self, update: int) -> int:
        """b(u): triplets that a mask after this update leaves."""
        if update <= self.start:
            return self._initial
        if update >= self.final_from:
            return self._target
        left = 1 - (update - self.start) / (self.final_from - self.start)
        return int((self._initial - self._target) * left**3 + self._target)

    def masks_at(self, update: int) -> bool:
        if update >= self.final_from:
            return True
        return update > self.start and update % self.interval == 0

    def before_step(self, model: nn.Module, optimizer: Optimizer, update: int) -> None:
        if self._model is not model:
            self._meet(model)
        if not self.score_after_step and update < self.final_from:
            self._score(optimizer)

    def after_step(self, model: nn.Module, optimizer: Optimizer, update: int) -> None:
        if self.score_after_step and update < self.final_from:
            self._score(optimizer)
        if self._pending is not None:
            attach(optimizer, self._parts, self._pending)
            self._pending = None
        if self.masks_at(update):
            self._mask(optimizer, update)

    def _meet(self, model: nn.Module) -> None:
        self.check(model)
        self._model = model
        self._layers = [m for m in model.modules() if isinstance(m, SVDLinear)]
        self._parts = parts(self._layers)
        self._initial = sum(layer.rank for layer in self._layers)
        self._target = self.target_rank * len(self._layers)

    def _score(self, optimizer: Optimizer) -> None:
        gradients = [p.grad for p in self._parts if p.grad is not None]
        found = averages(optimizer, self._parts)
        kept = found or (
            [torch.zeros_like(p) for p in self._parts],
            [torch.zeros_like(p) for p in self._parts],
        )
        betas: dict[str, Any] = {"beta1": self.beta1, "beta2": self.beta2}
        if len(gradients) < len(self._parts) or not smooth(self._parts, gradients, kept, **betas):
            self.findings["unscored"] += 1
        elif found is None:
            self._pending = kept

    def _mask(self, optimizer: Optimizer, update: int) -> None:
        kept = None
        if update < self.final_from or not self._pattern_is_fixed(update):
            found = averages(optimizer, self._parts)
            if found is None:  # not one update could be scored
                return
            kept = keep_largest(triplet_scores(self._layers, found), self.budget(update))
            self._fixed = update >= self.final_from
        mask(self._layers, kept)
        self.findings["masks"] += 1

    def _pattern_is_fixed(self, update: int) -> bool:
        """Whether `active` is the final pattern already, be it from before a resumed run."""
        if not self._fixed and update > self.final_from:
            self._fixed = sum(layer.active_rank for layer in self._layers) == self._target
        return self._fixed

    @torch.no_grad()
    def receipts(self, model: nn.Module) -> dict[str, Receipt]:
        """Whether the budget was allocated, what each layer got, and how orthogonal P, Q are."""
        layers = {name: m for name, m in model.named_modules() if isinstance(m, SVDLinear)}
        planned = sum(map(self.masks_at, range(self.num_updates)))
        masks, unscored = self.findings["masks"], self.findings["unscored"]
        ranks = {name: layer.active_rank for name, layer in layers.items()}
        budget = self.target_rank * len(layers)
        revived = [n for n, layer in layers.items() if layer.lam[~layer.active].any()]
        worst = max(
            float((torch.linalg.matrix_norm(each) / each.shape[-1] ** 0.5).max())
            for each in residuals(model)
        )
        return {
            "rank_masks": receipt(masks == planned, masks, f"of {planned}; unscored: {unscored}"),
            "active_rank": receipt(
                sum(ranks.values()) == budget and not revived,
                ranks,
                f"by layer, {sum(ranks.values())} of a budget of {budget}"
                + (f"; pruned but not zero in {', '.join(revived)}" if revived else ""),
            ),
            "orthogonality": receipt(None, worst, "largest |P^T P - I| / sqrt(r), of Q alike"),
        }
