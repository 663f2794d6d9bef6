"""Restarts of a low-rank correction: merge it, draw it anew, forget its moments."""

from copy import deepcopy
from math import inf, sqrt
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.adapter import Adapter
from lowrank_bench.layers.layer import Layer
from lowrank_bench.layers.svd import SVDLinear
from lowrank_bench.optim import surgery
from lowrank_bench.receipt import Receipt, receipt
from lowrank_bench.seeds import derive
from lowrank_bench.spans import span

KEY = "method.hooks.restarts"
Reset = Literal["zero", "prune_random", "prune_magnitude"]
LASTING = ("bias", "magnitude")  # roles of what means the same after a merge as before


class Restarts:
    """ReLoRA's restarts, at the end of update kF for k = 1, 2, ..., F being `cycle_length`.

    Each adapted layer takes its correction into its base, W0 <- W0 + s B A, in single precision
    at least and cast once; then B = 0 and A ~ U(-1/sqrt(i), 1/sqrt(i)), by a seed of the update
    and the layer, so DDP's ranks and a resumed run draw the same. Then the optimizer's moments
    of the factors go, by `reset`: `zero`, all of them and the count of steps, so that bias
    correction begins again; `prune_random`, the part `prune` by one mask for all moments of a
    parameter; `prune_magnitude`, the part of smallest first moment. Biases and whatever else
    trains keep their state. There is no full-rank warm start here.

    Works for any layer with merge_() and reset_(): LoRA, DoRA.

    Source: Lialin 2023, section 3 and algorithm 1, arXiv 2307.05695.
    Differs: the reference begins with A = 0 too (`zero_start`), so nothing of the factors learns
    before the first restart; its full reset prunes 99.9% at random and keeps the count of steps
    (`keep_step`); its masks are drawn for each moment by itself (`independent_masks`), which
    leaves first moments over a second of zero.
    Raises: ConfigError for a cycle that does not fit into training, a model with layers that
    cannot restart, or an optimizer whose state is not elementwise, such as 8-bit Adam.
    """

    def __init__(
        self,
        cycle_length: float,
        reset: Reset,
        prune: float,
        keep_step: bool,
        independent_masks: bool,
        zero_start: bool,
    ) -> None:
        if reset not in get_args(Reset):
            raise ConfigError(f"{KEY}.reset={reset}: must be one of {', '.join(get_args(Reset))}")
        if not isinstance(prune, int | float) or not 0 < prune <= 1:
            raise ConfigError(f"{KEY}.prune={prune}: must lie in (0, 1]")
        self.cycle_length, self.reset, self.prune = cycle_length, reset, prune
        self.keep_step, self.independent_masks = keep_step, independent_masks
        self.zero_start = zero_start
        self._forget()

    def _forget(self) -> None:
        self._model: nn.Module | None = None
        self.findings: dict[str, Any] = {"restarts": 0, "merge_drift": 0.0, "least_zeros": 1.0}

    def plan(self, num_updates: int, seed: int) -> None:
        """Place the restarts. Raises: ConfigError when training has no room for one."""
        self._forget()
        self.cycle = span(f"{KEY}.cycle_length", self.cycle_length, num_updates)
        if not 1 <= self.cycle < num_updates:
            raise ConfigError(
                f"{KEY}.cycle_length={self.cycle_length}: is {self.cycle} of {num_updates} "
                "updates; it must be at least one, and end before training does"
            )
        self.seed, self.planned = seed, (num_updates - 1) // self.cycle

    @property
    def period(self) -> int:
        """Updates between two restarts, once they are planned."""
        return self.cycle

    def check(self, model: nn.Module) -> None:
        """Raises: ConfigError naming the first layer that cannot restart."""
        adapted = {name: m for name, m in model.named_modules() if isinstance(m, Layer)}
        if not adapted:
            raise ConfigError(f"{KEY}: there is no adapted layer to restart; e.g. LoRA's can")
        for name, layer in adapted.items():
            kind = type(layer).__name__
            if isinstance(layer, SVDLinear):
                raise ConfigError(
                    f"{KEY}: ReLoRA's restarts do not go with AdaLoRA's {kind} at '{name}', whose "
                    "triplets are ranked over the whole of training; use LoRA or DoRA layers"
                )
            starts_again = isinstance(layer, Adapter) and type(layer).reset_ is not Adapter.reset_
            if not starts_again or not layer.mergeable:
                raise ConfigError(
                    f"{KEY}: {kind} at '{name}' cannot be merged and start again, as LoRA's can"
                )

    @torch.no_grad()
    def before_step(self, model: nn.Module, optimizer: Optimizer, update: int) -> None:
        if self._model is not model:
            self._meet(model, update)
        if update == 0 and self.zero_start:
            for layer in self._layers.values():
                for A in _drawn(layer):
                    A.zero_()
            for factor in self._factors.values():
                if factor.grad is not None:  # of a forward in which A was not yet zero
                    factor.grad.zero_()

    def step_end(self, model: nn.Module, optimizer: Optimizer, update: int) -> None:
        if update == 0:  # before a restart is wanted
            for factor in self._factors.values():
                list(surgery.moments(optimizer, factor))
        if update < self.cycle or update % self.cycle:
            return
        for name, layer in self._layers.items():
            self._restart(name, layer, update)
        self._clear(optimizer, update)
        self.findings["restarts"] += 1

    def _meet(self, model: nn.Module, update: int) -> None:
        self.check(model)
        self._model = model
        self._layers = {n: m for n, m in model.named_modules() if isinstance(m, Adapter)}
        self._factors = {
            f"{name}.{own}": factor
            for name, layer in self._layers.items()
            for own, factor in _short_lived(layer).items()
        }
        if update == 0:
            self.findings["first_weight"] = self._watched()[1].effective_weight().clone()

    @torch.no_grad()
    def _restart(self, name: str, layer: Adapter, update: int) -> None:
        before = layer.effective_weight()
        merge_in_single(layer)
        generator = torch.Generator().manual_seed(derive(self.seed, "restart", update, name))
        for A in _drawn(layer):
            bound = 1 / sqrt(A.shape[-1])
            A.copy_(torch.empty(A.shape).uniform_(-bound, bound, generator=generator))
        drift = (layer.effective_weight() - before).norm() / before.norm().clamp(min=1e-30)
        drift = drift.nan_to_num(inf)  # which max() would pass over
        self.findings["merge_drift"] = max(self.findings["merge_drift"], float(drift))

    def _clear(self, optimizer: Optimizer, update: int) -> None:
        factors, shared = self._factors, {"independent": self.independent_masks}
        if self.reset == "zero":
            surgery.reset(optimizer, factors.values(), keep_step=self.keep_step)
        elif self.reset == "prune_random":

            def seed_of(name: str) -> int:
                return derive(self.seed, "prune", update, name)

            surgery.prune_random(optimizer, factors, self.prune, seed_of, **shared)
        else:
            surgery.prune_magnitude(optimizer, factors.values(), self.prune, **shared)
        zeros = surgery.zero_fraction(optimizer, factors.values())
        self.findings["least_zeros"] = min(self.findings["least_zeros"], zeros)

    def _watched(self) -> tuple[str, Adapter]:
        """The smallest layer whose weight has room for more than the rank of one correction."""

        def size(named: tuple[str, Adapter]) -> tuple[bool, int]:
            layer = named[1]
            matrix = layer.as_matrix(layer.base.weight)
            return min(matrix.shape) <= _rank(layer), matrix.numel()

        return min(self._layers.items(), key=size)

    @torch.no_grad()
    def receipts(self, model: nn.Module) -> dict[str, Receipt]:
        """Whether the restarts took place, kept the function, cleared the moments and helped.

        `rank_of_change` is that of W_T - W_0 in the smallest layer that can show it.
        """
        if self._model is not model:  # taken up at its very end
            self._meet(model, self.planned * self.cycle)
        done, drift = self.findings["restarts"], self.findings["merge_drift"]
        zeros = self.findings["least_zeros"]
        elements = sum(factor.numel() for factor in self._factors.values())
        chance = 5 * sqrt(self.prune * (1 - self.prune) / elements)  # five standard deviations
        cleared = zeros == 1 if self.reset == "zero" else zeros >= self.prune - chance
        single = all(p.dtype.itemsize >= 4 for p in self._factors.values())
        found = {
            "restarts": receipt(done == self.planned, done, f"of {self.planned}"),
            "merge_drift": receipt(
                drift <= (1e-5 if single else 2e-2), drift, "largest |dW| / |W| of a merge"
            ),
            "moments_cleared": receipt(cleared, zeros, "least share of zeros after a restart"),
        }
        if (first := self.findings.get("first_weight")) is not None:
            name, layer = self._watched()
            now, first = (layer.as_matrix(each) for each in (layer.effective_weight(), first))
            rank = rank_of_change(now, first, merges=done)
            grew = rank > _rank(layer) if done > 1 else None
            found["rank_of_change"] = receipt(grew, {name: rank}, "rank of W_T - W_0")
        return found


@torch.no_grad()
def merge_in_single(layer: Adapter) -> None:
    """Merge and reset `layer`; in half precision the sum is taken in single and cast once."""
    weight = layer.base.weight
    if weight.dtype.itemsize >= 4:
        layer.merge_()
        return
    wide = deepcopy(layer).float()
    wide.merge_()
    weight.copy_(wide.base.weight)
    layer.reset_()


def rank_of_change(now: Tensor, first: Tensor, *, merges: int) -> int:
    """The numerical rank of `now` - `first` (o, i), beyond what merging may have rounded.

    0 where it is not finite.
    """
    rounding = (merges + 1) * torch.finfo(now.dtype).eps * float(first.abs().max())
    change = now.float() - first.to(now.device).float()
    if not change.isfinite().all():
        return 0
    threshold = rounding * sqrt(max(change.shape))
    return int((torch.linalg.svdvals(change) > threshold).sum())


def _rank(layer: Adapter) -> int:
    """That of one correction, as a matrix."""
    return getattr(layer, "inner_rank", getattr(layer, "rank", 0))


def _drawn(layer: Adapter) -> list[nn.Parameter]:
    """What a restart draws anew."""
    return [
        parameter
        for own, parameter in layer.named_parameters(recurse=False)
        if layer.roles[own] == "lora_A"
    ]


def _short_lived(layer: Adapter) -> dict[str, nn.Parameter]:
    """What trains in the layer and means nothing any more once it is merged."""
    return {
        own: parameter
        for own, parameter in layer.named_parameters(recurse=False)
        if parameter.requires_grad and layer.roles[own] not in LASTING
    }
