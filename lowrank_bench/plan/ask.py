"""One question put to a config, in whichever process, and its answer in plain numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from lowrank_bench.plan.break_even import LayerPlan
from lowrank_bench.plan.sharding import PerDevice

if TYPE_CHECKING:  # the process that asks need not import torch
    from lowrank_bench.plan.activations import Activations
    from lowrank_bench.plan.plan import Plan


@dataclass(frozen=True)
class Answer:
    """Of the config's own micro-batch, or where a room was named of the largest that fits."""

    numbers: dict[str, Any]  # as Plan.to_dict
    own_micro_batch: int
    device: PerDevice
    layers: list[LayerPlan]
    fits: bool | None = None  # None where no room was named
    activations: list[Activations] | None = None  # where they were asked for


@dataclass(frozen=True)
class Question:
    """What is wanted of each config."""

    room: int | None = None  # bytes of a device
    strategy: str = "ddp"
    activations: bool = False

    def __call__(self, cfg: DictConfig) -> Answer:
        """Raises: ConfigError for whatever a run would refuse."""
        from lowrank_bench.plan.activations import activations
        from lowrank_bench.plan.fits import largest
        from lowrank_bench.plan.plan import own_micro_batch, plan

        own = own_micro_batch(cfg)
        if self.room is None:
            found, fits = plan(cfg, own), None
        else:
            found, fits = largest(cfg, self.room, self.need)
        device = found.per_device(self.strategy)
        asked = activations(cfg, own) if self.activations else None
        return Answer(found.to_dict(), own, device, found.layers, fits, asked)

    def need(self, of: Plan) -> int:
        """The peak on one device."""
        return of.per_device(self.strategy).peak
