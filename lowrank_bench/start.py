"""How an adapted layer starts, and the checks that it is one."""

from functools import partial
from typing import Any

import torch
from torch import nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.layer import Layer

DRIFT = 1e-5  # of the largest output; single precision's own error is below 1e-6


def start(name: str, layer: nn.Module, init: Any, seed: int, **needs: Any) -> None:
    """Fill `layer`, called `name`, by `init` under its own seed; check what came out.

    Raises: ConfigError when the init is not made for the layer, when the layer breaks the
    contract of a parametrisation, or when one with a base no longer computes what that did.
    """
    domain = getattr(layer, "domain", "dense")
    if init is None:
        if domain in ("dense", "peft"):  # as the model, or the layer's own library, drew it
            return
        raise ConfigError(f"method.init=null: nothing would fill '{name}' ({domain})")
    declared = declared_by(init)
    domains = getattr(declared, "domains", None)
    if domains is not None and domain not in domains:
        raise ConfigError(
            f"method.init={declared.__name__}: starts {' or '.join(domains)} layers, "
            f"but '{name}' is {domain} ({type(layer).__name__})"
        )
    base = getattr(layer, "base", None)
    check_contract(name, layer)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        before = _outputs(base) if base is not None else None
        init(layer, **needs)
        if isinstance(layer, Layer):
            layer.finish_start()
        if before is not None:
            _check_same_start(name, layer, before, declared.__name__)


def declared_by(init: Any) -> Any:
    """The function behind a partial."""
    return init.func if isinstance(init, partial) else init


def check_contract(name: str, layer: nn.Module) -> None:
    """Raise ConfigError, in one line, for the first thing that a parametrisation must have."""
    if isinstance(layer, nn.Linear):
        return
    what = f"method.adapter: {type(layer).__name__} at '{name}'"
    if not hasattr(layer, "domain"):
        raise ConfigError(f"{what} has no `domain`; inherit lowrank_bench.layers.layer.Layer")
    roles = getattr(layer, "roles", {})
    for own, _ in layer.named_parameters(recurse=False):
        if own not in roles:
            raise ConfigError(f"{what} gives its parameter '{own}' no role; add it to `roles`")
    if not getattr(layer, "mergeable", True):
        return
    own_weight = getattr(type(layer), "effective_weight", None)
    if own_weight in (None, Layer.effective_weight):
        raise ConfigError(
            f"{what} has no effective_weight(); give the dense (out, in) weight that computes "
            "the same, or set `mergeable = False`"
        )
    expected = (layer.out_features, layer.in_features)
    found = tuple(layer.effective_weight().shape)  # type: ignore[operator]
    if found != expected:
        raise ConfigError(f"{what}: effective_weight() is {found}, must be {expected} (out, in)")


def _outputs(layer: nn.Module) -> torch.Tensor:
    """What a layer makes of a fixed input, dropout off."""
    weight = next(layer.parameters())
    generator = torch.Generator().manual_seed(0)
    in_features = int(layer.in_features)  # type: ignore[arg-type]
    x = torch.randn(8, in_features, generator=generator)
    training = layer.training
    try:
        return layer.eval()(x.to(weight))
    finally:
        layer.train(training)


def _check_same_start(name: str, layer: nn.Module, before: torch.Tensor, init: str) -> None:
    after = _outputs(layer)
    if after.shape != before.shape:
        raise ConfigError(
            f"method.adapter: {type(layer).__name__} at '{name}' gives {tuple(after.shape)} "
            f"where its base gave {tuple(before.shape)}"
        )
    drift = float((after - before).abs().max()) / (float(before.abs().max()) or 1.0)
    bound = DRIFT if before.dtype in (torch.float32, torch.float64) else 2e-2
    if not drift <= bound:
        raise ConfigError(
            f"method.init={init}: '{name}' ({type(layer).__name__}) no longer computes what its "
            f"base did; its output moved by {drift:.2g} of the largest"
        )
    if isinstance(layer, Layer):
        layer.start_drift = drift
