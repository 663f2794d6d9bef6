"""One update of a run, done on shapes: what lives while it happens, and what it computes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig
from torch.optim import Optimizer

from lowrank_bench.footprint import adapter_bytes, merged_bytes
from lowrank_bench.plan.ledger import Ledger, ledger
from lowrank_bench.plan.meter import Meter
from lowrank_bench.plan.passes import Passes, precision
from lowrank_bench.plan.stand_in import StandIn, stand_in, without_values

GRANULE = 512  # bytes: CUDA's allocator hands out multiples of it


@dataclass(frozen=True)
class Flops:
    """Multiplications and additions of products and decompositions; not of sums and norms."""

    forward: int  # of a micro-batch
    backward: int  # of a micro-batch, with what checkpointing computes again
    step: int  # of the optimizer and the hooks, in an update in which nothing rare happens
    rare: dict[str, tuple[int, int]]  # by what acts: flops at a time, updates between two times

    def plain(self, micro_batches: int) -> int:
        """Of an update in which nothing rare happens."""
        return micro_batches * (self.forward + self.backward) + self.step

    def per_update(self, micro_batches: int) -> float:
        """Averaged over the updates: SVDs and merges have their share in each."""
        rare = sum(flops / period for flops, period in self.rare.values())
        return self.plain(micro_batches) + rare


@dataclass(frozen=True)
class Traced:
    """What an update was seen to need."""

    ledger: Ledger
    plain: dict[str, torch.Size]
    targets: list[str]
    adapter_bytes: int
    merged_bytes: int | None  # None where no dense network computes the same
    tokens: int | None  # in a micro-batch
    batch_bytes: int  # of a micro-batch itself, inputs and targets
    activation_bytes: int  # kept from the forward pass of a micro-batch for its backward pass
    update_peak_bytes: int  # of all that lives, over the first two updates
    peak_bytes: int  # and over what is rare
    flops: Flops


def trace(cfg: DictConfig, micro_batch: int, num_updates: int) -> Traced:
    """Two updates of what `cfg` describes; then the hooks, at their own periods.

    In the first update state is made and projections are drawn; the second is like most. Its
    forward and backward pass are those of the first with that state alive, so they are not done
    again, unless the optimizer steps within them.
    Raises: ConfigError for whatever the run would refuse.
    """
    on_gpu = cfg.run.accelerator != "cpu"
    with without_values(Meter(GRANULE if on_gpu else 1)) as meter:
        built = stand_in(cfg, micro_batch)
        model, method = built.model, built.method
        meter.watch(*model.parameters(), *model.buffers(), built.batch.x, built.batch.y)
        optimizer = method.optimizer(model)
        method.schedule(optimizer, num_updates)
        _settle(optimizer, on_gpu)
        passes = Passes(cfg, built, meter)
        meter.reset_peak()
        at_first = found = passes.gradients()
        before, in_passes, within = meter.live_bytes, meter.peak_bytes, bool(optimizer.state)
        first = passes.step(optimizer, 0)
        in_passes += meter.live_bytes - before
        if within:
            found = passes.gradients()
        then = passes.step(optimizer, 1)
        in_updates = meter.peak_bytes if within else max(in_passes, meter.peak_bytes)
        seldom = first - then + at_first.backward_flops - found.backward_flops
        rare = dict(_rare(built, optimizer, meter, seldom))
        counted = ledger(model, method.targets, optimizer)
        saved, merged = adapter_bytes(model), merged_bytes(model)
    return Traced(
        counted,
        built.plain,
        method.targets,
        saved,
        merged,
        built.batch.tokens,
        built.batch.x.nbytes + built.batch.y.nbytes,
        found.kept_bytes,
        in_updates,
        max(in_updates, meter.peak_bytes),
        Flops(found.forward_flops, found.backward_flops, then, rare),
    )


def count(cfg: DictConfig) -> Ledger:
    """What is kept after an update, found without a forward or a backward pass.

    Raises: ConfigError for whatever the run would refuse of a model and a method.
    """
    with without_values():
        built = stand_in(cfg, 1)
        optimizer = built.method.optimizer(built.model)
        _settle(optimizer, on_gpu=False)
        for parameter in built.model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.empty_like(parameter)
        optimizer.step()
        return ledger(built.model, built.method.targets, optimizer)


def kept_bytes(cfg: DictConfig, micro_batch: int) -> int:
    """What a forward pass of a micro-batch keeps for its backward pass."""
    with without_values() as meter:
        built = stand_in(cfg, micro_batch)
        lived = meter.live_bytes
        with precision(cfg):
            loss = Passes(cfg, built, meter).loss()
        kept = meter.live_bytes - lived
        del loss
        return kept


def _rare(
    built: StandIn, optimizer: Optimizer, meter: Meter, of_first: int
) -> Iterator[tuple[str, tuple[int, int]]]:
    """What an optimizer does at its first step and seldom again, and hooks at their periods."""
    if of_first > 0 and (period := getattr(optimizer, "period", None)):
        yield "projection", (of_first, period)
    for name, hook in built.method.hooks.hooks.items():
        if (period := getattr(hook, "period", None)) and hasattr(hook, "step_end"):
            began = meter.flops
            hook.step_end(built.model, optimizer, period)
            yield name, (meter.flops - began, period)


def _settle(optimizer: Optimizer, on_gpu: bool) -> None:
    """What the rules choose by the device: on a GPU torch steps all parameters at once."""
    for group in optimizer.param_groups:
        if group.get("foreach", 0) is None and not group.get("fused"):
            group["foreach"] = on_gpu
    rule: Any = getattr(optimizer, "inner", optimizer)
    if type(rule).__module__.startswith("bitsandbytes"):
        rule.update_step = lambda *_: None  # a kernel in place, which needs values
