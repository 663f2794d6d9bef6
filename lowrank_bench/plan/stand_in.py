"""What a config would train, built of shapes alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from lowrank_bench.base import has_base
from lowrank_bench.build import build
from lowrank_bench.errors import ConfigError
from lowrank_bench.head import Head
from lowrank_bench.layers.routing import check_adapters
from lowrank_bench.method import Method
from lowrank_bench.models.checkpointing import checkpoint_activations
from lowrank_bench.plan.batch import Batch, batch_of
from lowrank_bench.plan.fused import Fused
from lowrank_bench.plan.meter import Meter
from lowrank_bench.prepare import build_model, with_targets

TRUE = {"32-true": torch.float32, "64-true": torch.float64, "bf16-true": torch.bfloat16}


class StandIn(NamedTuple):
    """The model of a config on the device `meta`, its method applied."""

    model: nn.Module
    method: Method
    plain: dict[str, torch.Size]  # names and shapes of the parameters before the method
    batch: Batch


def stand_in(cfg: DictConfig, micro_batch: int) -> StandIn:
    """As `prepare` builds it, without data, weights or a base's own training.

    Raises: ConfigError for whatever `prepare` refuses of a model and a method.
    """
    with torch.device("meta"):
        model = build_model(without_weights(cfg))
    head = Head.of(cfg.model, cfg.base)
    if head is not None:
        head.check(model)
    plain = {name: parameter.shape for name, parameter in model.named_parameters()}
    batch = batch_of(cfg.data, micro_batch)
    if cfg.precision in TRUE:  # what Lightning makes of it
        model.to(TRUE[cfg.precision])
    method = Method(seed=cfg.seed, **build(with_targets(cfg), "method"))
    model = method.apply(
        model,
        loss=lambda net: batch.objective.mean(net(cast(batch.x, cfg.precision)), batch.y),
        head=head,
        beside=() if has_base(cfg) else cfg.model.get("trains") or (),
    )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"method.trainable: nothing would train with method={method.name}")
    check_adapters(model, cfg.data.get("adapters"))
    if cfg.run.checkpoint_activations:
        checkpoint_activations(model, cfg.model.get("blocks"))
    return StandIn(model.train(), method, plain, batch)


def without_weights(cfg: DictConfig) -> DictConfig:
    """The config of the same shapes that loads nothing."""
    cfg = cfg.copy()
    if cfg.base.load_weights:
        cfg.base = {**cfg.base, "load_weights": False}
    return cfg


def cast(x: Tensor, precision: str) -> Tensor:
    """Images in the precision that is true for all."""
    return x.to(TRUE[precision]) if precision in TRUE and x.is_floating_point() else x


@contextmanager
def without_values(meter: Meter | None = None) -> Iterator[Meter]:
    """Within it, code for real tensors runs on shapes."""
    meter = meter or Meter()
    with Fused(), meter:
        yield meter
