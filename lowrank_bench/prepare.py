"""From a config to what trains: data, base, model, method."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from lowrank_bench.base import base_config
from lowrank_bench.build import build
from lowrank_bench.data.part import Data
from lowrank_bench.errors import ConfigError
from lowrank_bench.head import Head
from lowrank_bench.layers.routing import check_adapters
from lowrank_bench.method import Method
from lowrank_bench.presets import resolved
from lowrank_bench.retention import Source
from lowrank_bench.start import check_base_is_used
from lowrank_bench.weights import take_over

START_BATCHES = 8  # what an init that begins at the gradient sees
# What recipes, presets and the bench read of the model's node
NOT_THE_NETWORKS = ("name", "targets", "head", "presets", "blocks")


class Prepared(NamedTuple):
    """What a config describes, built."""

    data: Data
    model: nn.Module  # adapted
    method: Method
    source: Source | None  # what the base was trained on, where that is known
    plain: dict[str, Tensor]  # the weights of a base, before the method was applied


def prepare(cfg: DictConfig, weights: Mapping[str, Tensor] | None = None) -> Prepared:
    """Build what the config describes, the method applied to the model.

    `weights` are those of a base that was trained for it; without them its place is taken by
    random ones, which is enough to see whether everything fits.

    Raises: ConfigError for whatever a user can get wrong there, before anything is written.
    """
    data = build(cfg.data, "data")
    if cfg.budget.selection != "last" and data.val is None:
        raise ConfigError(f"budget.selection={cfg.budget.selection}: needs data.val_size above 0")
    torch.manual_seed(cfg.seed)  # as a plain script would, so that the two can be compared
    model = build_model(cfg)
    source = _base(cfg, model, weights)
    has_base = cfg.base.name != "scratch"
    plain = {n: t.detach().clone() for n, t in model.state_dict().items()} if has_base else {}
    method = Method(seed=cfg.seed, **build(_with_targets(cfg), "method"))
    x, y = data.train.fetch(slice(0, START_BATCHES * cfg.budget.batch_size))
    model = method.apply(
        model, loss=lambda net: data.objective.mean(net(x), y), head=Head.of(cfg.model, cfg.base)
    )
    if has_base:
        check_base_is_used(model, method.slots.init)
    check_adapters(model, data.adapters)
    with torch.no_grad():
        outputs = model.eval()(x[:1]).shape[-1]
    data.objective.check_outputs(outputs)
    return Prepared(data, model.train(), method, source, plain)


def build_model(cfg: DictConfig) -> nn.Module:
    """The network of a config, as it is without a base of ours and without a method."""
    node: Any = OmegaConf.to_container(cfg.model, resolve=True)
    if cfg.base.load_weights and "load_weights" not in node:
        raise ConfigError(f"base={cfg.base.name}: model={cfg.model.name} brings no weights")
    return build({k: v for k, v in node.items() if k not in NOT_THE_NETWORKS}, "model")


def _base(cfg: DictConfig, model: nn.Module, weights: Mapping[str, Tensor] | None) -> Source | None:
    """Give `model` the weights of its base; return what that was trained on."""
    head, rule = cfg.model.get("head"), cfg.base.head
    base = base_config(cfg)
    if base is None:
        if cfg.base.source is None:
            return None
        if rule == "fresh":
            raise ConfigError(
                "base.source: a head that begins afresh knows nothing of it; say base.head=kept"
            )
        source = build(cfg.base.source, "base.source")
    else:
        source = build(base.data, "base.source")
        with torch.random.fork_rng(devices=[]):
            grown = build_model(base)
        if weights is not None:
            grown.load_state_dict(weights)
        take_over(model, grown, head=head, rule=rule)
        if rule == "fresh":
            own = grown.get_submodule(head).requires_grad_(False)
            return Source(source, head, own)
    return Source(source)


def _with_targets(cfg: DictConfig) -> dict[str, Any]:
    """The method's node, a preset's name replaced by the globs it stands for."""
    node: Any = OmegaConf.to_container(cfg.method, resolve=True)
    presets: Any = OmegaConf.to_container(cfg.model.get("presets") or OmegaConf.create({}))
    return node | {"targets": resolved(node["targets"], presets)}
