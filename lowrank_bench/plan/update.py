"""One update of a run, done on shapes: what lives while it happens, and what it computes."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.optim import Optimizer

from lowrank_bench.footprint import adapter_bytes, merged_bytes
from lowrank_bench.layers.routing import route
from lowrank_bench.plan.ledger import Ledger, ledger
from lowrank_bench.plan.meter import Meter
from lowrank_bench.plan.mixed import Mixed
from lowrank_bench.plan.stand_in import StandIn, cast, stand_in, without_values

MIXED = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
GRANULE = 512  # bytes: CUDA's allocator hands out multiples of it


@dataclass(frozen=True)
class Flops:
    """Multiplications and additions of products and decompositions; not of sums and norms."""

    forward: int  # of a micro-batch
    backward: int  # of a micro-batch, with what checkpointing computes again
    step: int  # of the optimizer and the hooks, in an update in which nothing rare happens
    rare: dict[str, tuple[int, int]]  # by what acts: flops at a time, updates between two times

    def per_update(self, micro_batches: int) -> float:
        """Averaged over the updates: SVDs and merges have their share in each."""
        rare = sum(flops / period for flops, period in self.rare.values())
        return micro_batches * (self.forward + self.backward) + self.step + rare


@dataclass(frozen=True)
class Traced:
    """What an update was seen to need."""

    ledger: Ledger
    plain: dict[str, torch.Size]
    targets: list[str]
    adapter_bytes: int
    merged_bytes: int | None  # None where no dense network computes the same
    tokens: int | None  # in a micro-batch
    activation_bytes: int  # kept from the forward pass of a micro-batch for its backward pass
    peak_bytes: int  # of all that lives, over the first two updates
    flops: Flops


def trace(cfg: DictConfig, micro_batch: int, num_updates: int) -> Traced:
    """Two updates of what `cfg` describes, in the order of the run's own clock (task.py).

    In the first of them state is made and projections are drawn, the second is like most. Then
    the hooks are asked at their own periods.
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
        meter.reset_peak()
        passes = [_Pass(cfg, built, optimizer, meter).update(number) for number in (0, 1)]
        first, then = passes
        rare = dict(_rare(built, optimizer, meter, first[2] - then[2]))
        counted = ledger(model, method.targets, optimizer)
        saved, merged = adapter_bytes(model), merged_bytes(model)
    forward, backward, step, activations = then
    return Traced(
        counted,
        built.plain,
        method.targets,
        saved,
        merged,
        built.batch.tokens,
        activations,
        meter.peak_bytes,
        Flops(forward, backward, step, rare),
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
        model, batch = built.model, built.batch
        meter.watch(*model.parameters(), *model.buffers(), batch.x, batch.y)
        lived = meter.live_bytes
        with _precision(cfg.precision):
            loss = _loss(built, cfg.precision)
        kept = meter.live_bytes - lived
        del loss
        return kept


def _backward(loss: Tensor) -> None:
    """loss.backward(), which would set the modes aside where checkpoints compute again."""
    engine: Any = torch.autograd.Variable._execution_engine
    engine.run_backward(
        (loss,),
        (torch.ones_like(loss),),
        False,
        False,
        (),
        allow_unreachable=True,
        accumulate_grad=True,
    )


def _loss(built: StandIn, precision: str) -> Tensor:
    model, batch = built.model, built.batch
    route(model, batch.adapters)
    outputs = model(cast(batch.x, precision))
    loss = batch.objective.mean(outputs, batch.y)
    route(model, None)
    return loss


class _Pass:
    """Updates of one stand-in."""

    def __init__(self, cfg: DictConfig, built: StandIn, optimizer: Optimizer, meter: Meter) -> None:
        self.cfg, self.built, self.optimizer, self.meter = cfg, built, optimizer, meter

    def update(self, number: int) -> tuple[int, int, int, int]:
        """FLOPs forward, backward and of the step; bytes kept by the forward pass."""
        model, method = self.built.model, self.built.method
        for parameter in model.parameters():
            parameter.grad = None
        meter = self.meter
        # A second micro-batch finds the gradients of the first; a third finds the same.
        for part in range(min(2, self.cfg.run.accumulate)):
            began, lived = meter.flops, meter.live_bytes
            with _precision(self.cfg.precision):
                loss = _loss(self.built, self.cfg.precision)
                if part == 0:
                    loss = loss + method.penalty(model)
                forward = meter.flops - began
                kept = meter.live_bytes - lived
                _backward(loss)
            backward = meter.flops - began - forward
            del loss
        began = meter.flops
        with torch.no_grad():
            method.hooks.before_step(model, self.optimizer, number)
        self.optimizer.step()
        method.hooks.after_step(model, self.optimizer, number)
        method.hooks.step_end(model, self.optimizer, number)
        return forward, backward, meter.flops - began, kept


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


@contextmanager
def _precision(precision: str) -> Iterator[None]:
    with Mixed(MIXED[precision]) if precision in MIXED else nullcontext():
        yield


def _settle(optimizer: Optimizer, on_gpu: bool) -> None:
    """What the rules choose by the device: on a GPU torch steps all parameters at once."""
    for group in optimizer.param_groups:
        if group.get("foreach", 0) is None and not group.get("fused"):
            group["foreach"] = on_gpu
    rule: Any = getattr(optimizer, "inner", optimizer)
    if type(rule).__module__.startswith("bitsandbytes"):
        rule.update_step = lambda *_: None  # a kernel in place, which needs values
