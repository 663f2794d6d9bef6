"""The plan of one configuration: everything that is told of it."""

from dataclasses import asdict, dataclass
from functools import cached_property
from math import prod
from typing import Any

from omegaconf import DictConfig

from lowrank_bench.identity import identify
from lowrank_bench.names import MAYBE, match
from lowrank_bench.plan.break_even import LayerPlan, layers
from lowrank_bench.plan.ledger import Ledger
from lowrank_bench.plan.sharding import PerDevice, per_device
from lowrank_bench.plan.update import Flops, Traced, trace

UPDATES = 1000  # of a run whose config does not say how many it has


@dataclass(frozen=True)
class Plan:
    """What a run of `cfg` needs, before it is made.

    Bytes are those of one device that has the whole model, for a micro-batch of `micro_batch`
    examples; `per_device` shares them out.
    """

    cfg: DictConfig
    name: dict[str, Any]  # {method, data, model, base, rank, lr}
    micro_batch: int
    num_updates: int
    traced: Traced

    @property
    def ledger(self) -> Ledger:
        return self.traced.ledger

    @property
    def flops(self) -> Flops:
        return self.traced.flops

    @property
    def micro_batches(self) -> int:
        """In an update, on one device."""
        return self.cfg.run.accumulate

    @property
    def flops_per_update(self) -> float:
        """Of one device; averaged over updates, so that what is rare has its share."""
        return self.flops.per_update(self.micro_batches)

    @property
    def tokens_per_update(self) -> int | None:
        """On all devices."""
        tokens = self.traced.tokens
        return None if tokens is None else tokens * self.micro_batches * self.cfg.run.devices

    @cached_property
    def layers(self) -> list[LayerPlan]:
        """The target layers, whose weights were dense before the method."""
        shapes = {}
        for name in dict.fromkeys(self.traced.targets):
            o, *rest = self.traced.plain[f"{name}.weight"]
            shapes[name] = (o, prod(rest))
        return layers(self.ledger, shapes)

    @cached_property
    def largest_block(self) -> int:
        """Bytes of the weights in the largest of the model's blocks; of all where it names none."""
        globs = self.cfg.model.get("blocks")
        sizes: dict[str, int] = {}
        for entry in self.ledger.entries:
            *path, _ = entry.name.split(".")
            for depth in range(1, len(path) + 1):
                prefix = ".".join(path[:depth])
                sizes[prefix] = sizes.get(prefix, 0) + entry.weight.bytes
        maybe = [f"{MAYBE}{glob.removeprefix(MAYBE)}" for glob in globs or ()]
        blocks = match(maybe, sizes, key="model.blocks")
        return max((sizes[block] for block in blocks), default=self.ledger.weights.bytes)

    def per_device(self, strategy: str) -> PerDevice:
        return per_device(
            strategy,
            self.cfg.run.devices,
            weights=self.ledger.weights.bytes,
            gradients=self.ledger.gradients.bytes,
            optimizer_state=self.ledger.states.bytes,
            activations=self.traced.activation_bytes,
            peak=self.traced.peak_bytes,
            largest_block=self.largest_block,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, bytes in bytes: for JSON, for a table, and to compare with a record."""
        ledger, traced = self.ledger, self.traced
        return {
            "name": self.name,
            "precision": self.cfg.precision,
            "devices": self.cfg.run.devices,
            "micro_batch": self.micro_batch,
            "micro_batches": self.micro_batches,
            "tokens_per_update": self.tokens_per_update,
            "params": {
                "total": ledger.weights.elements,
                "trainable": ledger.trainable.elements,
                "dense": sum(map(prod, traced.plain.values())),
                "by_role": ledger.by_role(),
            },
            "weight_bytes": ledger.weights.bytes,
            "buffer_bytes": ledger.buffers.bytes,
            "gradient_bytes": ledger.gradients.bytes,
            "optimizer_state_bytes": ledger.states.bytes,
            "projector_bytes": ledger.projectors.bytes,
            "state": {key: asdict(size) for key, size in ledger.by_state().items()},
            "batch_bytes": traced.batch_bytes,
            "activation_bytes": traced.activation_bytes,
            "update_peak_bytes": traced.update_peak_bytes,
            "peak_memory_bytes": traced.peak_bytes,
            "adapter_bytes": traced.adapter_bytes,
            "merged_bytes": traced.merged_bytes,
            "flops": asdict(self.flops)
            | {"plain": self.flops.plain(self.micro_batches), "per_update": self.flops_per_update},
            "layers": {"targets": len(self.layers), "no_saving": self.num_no_saving},
            "break_even_rank": self.break_even,
        }

    @property
    def break_even(self) -> float | None:
        """The rank at which the first of the target layers no longer saves parameters."""
        return min((layer.break_even for layer in self.layers), default=None)

    @property
    def num_no_saving(self) -> int:
        """Target layers in which as many parameters train as the dense weight has, or more."""
        return sum(not layer.saves for layer in self.layers)


def plan(cfg: DictConfig, micro_batch: int | None = None) -> Plan:
    """Plan a run of `cfg`; a micro-batch of another size than its own may be asked for.

    Raises: ConfigError for whatever the run would refuse, as far as shapes tell.
    """
    budget = cfg.budget
    updates = (budget.updates_per_epoch or 0) * budget.epochs or UPDATES
    size = micro_batch or own_micro_batch(cfg)
    return Plan(cfg, identify(cfg).name, size, updates, trace(cfg, size, updates))


def own_micro_batch(cfg: DictConfig) -> int:
    """Examples that one device sees at once."""
    return -(-cfg.budget.batch_size // (cfg.run.devices * cfg.run.accumulate))
