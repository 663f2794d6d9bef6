"""From a config to what trains: data, base, model, method."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lowrank_bench.base import base_config, has_base, of_the_base
from lowrank_bench.build import build
from lowrank_bench.data.part import Data
from lowrank_bench.errors import ConfigError
from lowrank_bench.head import Head
from lowrank_bench.layers.routing import check_adapters
from lowrank_bench.method import Method
from lowrank_bench.models.checkpointing import checkpoint_activations
from lowrank_bench.presets import resolved
from lowrank_bench.retention import Source
from lowrank_bench.seeds import derive
from lowrank_bench.start import check_base_is_used
from lowrank_bench.weights import draw_anew, take_over

START_BATCHES = 8  # what an init that begins at the gradient sees
# What recipes, presets and the bench read of the model's node
NOT_THE_NETWORKS = ("name", "targets", "head", "presets", "blocks", "trains")
MeetBase = Callable[[nn.Module, Mapping[str, Tensor], Data, Source | None], None]


class Prepared(NamedTuple):
    """What a config describes, built."""

    data: Data
    model: nn.Module  # adapted
    method: Method
    source: Source | None  # what the base was trained on, where that is known
    plain: dict[str, Tensor]  # the weights of a base, before the method was applied


def prepare(
    cfg: DictConfig,
    weights: Mapping[str, Tensor] | None = None,
    meet_base: MeetBase | None = None,
) -> Prepared:
    """Build what the config describes, the method applied to the model.

    `weights` are those of a base that was trained for it; without them its place is taken by
    random ones, which is enough to see whether everything fits. `meet_base` is shown the base,
    if there is one, before the method is applied: (model, its weights, data, source).

    Raises: ConfigError for whatever a user can get wrong there, before anything is written.
    """
    data = build(cfg.data, "data")
    if cfg.budget.selection != "last" and data.val is None:
        raise ConfigError(f"budget.selection={cfg.budget.selection}: needs data.val_size above 0")
    _check_a_pass(cfg, len(data.train))
    torch.manual_seed(cfg.seed)  # as a plain script would, so that the two can be compared
    model = build_model(cfg)
    head = Head.of(cfg.model, cfg.base)
    if head is not None:
        head.check(model)
    source = _base(cfg, model, weights)
    is_grown = has_base(cfg)
    plain = {n: t.detach().clone() for n, t in model.state_dict().items()} if is_grown else {}
    if is_grown and meet_base is not None:
        meet_base(model, plain, data, source)
    method = Method(seed=cfg.seed, **build(with_targets(cfg), "method"))
    x, y = data.train.fetch(slice(0, START_BATCHES * cfg.budget.batch_size))
    model = method.apply(
        model,
        loss=lambda net: data.objective.mean(net(x), y),
        head=head,
        beside=() if is_grown else cfg.model.get("trains") or (),
    )
    if is_grown:
        check_base_is_used(model, method.targets, method.slots.init)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        frozen = f", with base.head={cfg.base.head}" if head is not None else ""
        raise ConfigError(
            f"method.trainable: nothing would train with method={method.name}{frozen}"
        )
    check_adapters(model, data.adapters)
    with torch.no_grad():
        data.objective.check_outputs(model.eval()(x[:1]).shape[-1])
        if source is not None:
            asked, _ = source.data.train.fetch(slice(0, 1))
            with source.head_on(model), of_the_base():
                source.objective.check_outputs(model(asked).shape[-1])
    if cfg.run.checkpoint_activations:
        checkpoint_activations(model, cfg.model.get("blocks"))
    _check_statistics(cfg, model.train())
    return Prepared(data, model, method, source, plain)


def _check_statistics(cfg: DictConfig, model: nn.Module) -> None:
    """Raise ConfigError where parts of a batch would be normalised by statistics of their own."""
    for name, norm in model.named_modules():
        if isinstance(norm, _BatchNorm) and getattr(norm, "learns", norm.training):
            for key in ("accumulate", "devices"):
                if cfg.run[key] > 1:
                    raise ConfigError(
                        f"run.{key}={cfg.run[key]}: '{name}' ({type(norm).__name__}) normalises "
                        "by the batch, and each part of one would be another; say "
                        f"run.{key}=1, or train fewer parameters, so that it is frozen"
                    )


def _check_a_pass(cfg: DictConfig, examples: int) -> None:
    """Raise ConfigError where an epoch is to be longer than the data."""
    limit, there = cfg.budget.updates_per_epoch, -(-examples // cfg.budget.batch_size)
    if limit is not None and limit > there:
        raise ConfigError(
            f"budget.updates_per_epoch={limit}: a pass over the {examples} training examples has "
            f"{there}; say at most that, and more epochs"
        )


def build_model(cfg: DictConfig) -> nn.Module:
    """The network of a config, as it is without a base of ours and without a method."""
    node: Any = OmegaConf.to_container(cfg.model, resolve=True)
    if cfg.base.load_weights and "load_weights" not in node:
        raise ConfigError(
            f"base.load_weights=true: model={cfg.model.name} brings no weights; say base=scratch, "
            "or base=pretrained_here"
        )
    return build({k: v for k, v in node.items() if k not in NOT_THE_NETWORKS}, "model")


def _base(cfg: DictConfig, model: nn.Module, weights: Mapping[str, Tensor] | None) -> Source | None:
    """Give `model` the weights of its base; return what that was trained on."""
    head, is_fresh = cfg.model.get("head"), cfg.base.head == "fresh"
    if is_fresh and cfg.base.load_weights:  # what came with them is not fresh
        draw_anew(model.get_submodule(head), derive(cfg.seed, "head"))
    base = base_config(cfg)
    if base is None and cfg.base.source is None:
        return None
    if base is None and is_fresh:
        raise ConfigError(
            "base.source: a head that begins afresh knows nothing of it; say base.head=kept"
        )
    with of_the_base():
        source = build(cfg.base.source if base is None else base.data, "base.source")
    if base is None:
        return Source(source)
    with torch.random.fork_rng(devices=[]):
        grown = build_model(base)
    if weights is not None:
        grown.load_state_dict(weights)
    take_over(model, grown, head=head, rule=cfg.base.head)
    if not is_fresh:
        return Source(source)
    return Source(source, head, grown.get_submodule(head).requires_grad_(False))


def with_targets(cfg: DictConfig) -> dict[str, Any]:
    """The method's node, a preset's name replaced by the globs it stands for."""
    node: Any = OmegaConf.to_container(cfg.method, resolve=True)
    presets: Any = OmegaConf.to_container(cfg.model.get("presets") or OmegaConf.create({}))
    return node | {"targets": resolved(node["targets"], presets)}
