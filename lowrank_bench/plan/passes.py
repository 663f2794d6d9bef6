"""The passes of an update, on shapes, in the order of the run's own clock (task.py)."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from lowrank_bench.layers.routing import route
from lowrank_bench.plan.meter import Meter
from lowrank_bench.plan.mixed import Mixed
from lowrank_bench.plan.stand_in import StandIn, cast

MIXED = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True)
class Gradients:
    """Of a micro-batch."""

    forward_flops: int
    backward_flops: int  # with what checkpointing computes again
    kept_bytes: int  # by the forward pass, for the backward pass


class Passes:
    """Updates of a stand-in, under a meter."""

    def __init__(self, cfg: DictConfig, built: StandIn, meter: Meter) -> None:
        self.cfg, self.built, self.meter = cfg, built, meter

    def loss(self) -> Tensor:
        """The forward pass of a micro-batch."""
        model, batch = self.built.model, self.built.batch
        route(model, batch.adapters)
        outputs = model(cast(batch.x, self.cfg.precision))
        loss = batch.objective.mean(outputs, batch.y)
        route(model, None)
        return loss

    def gradients(self) -> Gradients:
        """Of all micro-batches; a third finds what the second found, so two are done."""
        meter, model = self.meter, self.built.model
        for parameter in model.parameters():
            parameter.grad = None
        forward = backward = kept = 0
        for part in range(min(2, self.cfg.run.accumulate)):
            began, lived = meter.flops, meter.live_bytes
            with precision(self.cfg):
                loss = self.loss()
                if part == 0:
                    loss = loss + self.built.method.penalty(model)
                forward, kept = meter.flops - began, meter.live_bytes - lived
                _backward(loss)
            backward = meter.flops - began - forward
            del loss
        return Gradients(forward, backward, kept)

    def step(self, optimizer: Optimizer, number: int) -> int:
        """The rest of update `number`; FLOPs of the optimizer and the hooks."""
        model, hooks, began = self.built.model, self.built.method.hooks, self.meter.flops
        if self.cfg.budget.clip_norm is not None:
            clip_grad_norm_(model.parameters(), self.cfg.budget.clip_norm)
        hooks.before_step(model, optimizer, number)
        optimizer.step()
        hooks.after_step(model, optimizer, number)
        hooks.step_end(model, optimizer, number)
        return self.meter.flops - began


@contextmanager
def precision(cfg: DictConfig) -> Iterator[None]:
    """Mixed precision, where the config says so."""
    dtype, on_gpu = MIXED.get(cfg.precision), cfg.run.accelerator != "cpu"
    with nullcontext() if dtype is None else Mixed(dtype, on_gpu=on_gpu):
        yield


def _backward(loss: Tensor) -> None:
    """loss.backward(), which would set the modes aside where checkpoints compute again."""
    engine: Any = torch.autograd.Variable._execution_engine
    unreachable: dict[str, Any] = {"allow_unreachable": True, "accumulate_grad": True}
    engine.run_backward((loss,), (torch.ones_like(loss),), False, False, (), **unreachable)
