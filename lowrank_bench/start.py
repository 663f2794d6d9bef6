"""How an adapted layer starts, and the checks of a model around that."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.layer import Layer

INHERIT = "lowrank_bench.layers.layer.Layer"
DRIFT = 1e-5  # of the largest output; single precision's own error is below 1e-6


def start(name: str, layer: nn.Module, init: Any, seed: int, **needs: Any) -> None:
    """Fill `layer`, called `name`, by `init` under its own seed; check what came out.

    Raises: ConfigError when the init is not made for the layer, when the layer breaks the
    contract of a parametrisation, or when one with a base no longer computes what that did.
    """
    domain = getattr(layer, "domain", "dense" if isinstance(layer, nn.Linear) else None)
    if domain is None:
        raise ConfigError(f"{_what(name, layer)} has no `domain`; inherit {INHERIT}")
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
    with drawing(seed, layer), torch.no_grad():
        check_contract(name, layer)
        before = _outputs(base) if base is not None else None
        init(layer, **needs)
        if isinstance(layer, Layer):
            layer.finish_start()
        if before is not None:
            _check_same_start(name, layer, before, declared.__name__)


@contextmanager
def drawing(seed: int, module: nn.Module) -> Iterator[None]:
    """The global generators at `seed`, of the CPU and where `module` lies; afterwards as before."""
    devices = {p.get_device() for p in module.parameters() if p.is_cuda}
    with torch.random.fork_rng(devices=sorted(devices)):
        torch.manual_seed(seed)
        yield


def declared_by(init: Any) -> Any:
    """The function behind a partial."""
    return init.func if isinstance(init, partial) else init


def check_plain(model: nn.Module) -> None:
    """Raise ConfigError when a method has been applied to the model before."""
    for name, module in model.named_modules():
        if hasattr(module, "domain"):
            raise ConfigError(
                f"method.targets: the model is adapted already ('{name}' is a "
                f"{type(module).__name__}); apply a method once, and to a plain model"
            )


def check_replaceable(model: nn.Module, targets: Sequence[str]) -> None:
    """Raise ConfigError for a target whose replacement would leave another layer as it was."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    for target in targets:
        if not target:
            raise ConfigError(
                "method.targets: the model is itself an nn.Linear; put it into an nn.Sequential"
            )
        for parameter in model.get_submodule(target).parameters():
            if len(shared := names[id(parameter)]) > 1:
                raise ConfigError(
                    f"method.targets: '{target}' shares its weight ({', '.join(shared)}); leave "
                    "it out, or give each place a weight of its own"
                )


def check_base_is_used(model: nn.Module, init: Any) -> None:
    """Raise ConfigError when a layer starts without the weight that the base has there."""
    declared = declared_by(init)
    if init is None or getattr(declared, "needs", None) == "dense":
        return
    for name, layer in model.named_modules():
        domain = getattr(layer, "domain", None)
        if domain not in (None, "peft") and getattr(layer, "base", None) is None:
            raise ConfigError(
                f"method.init={declared.__name__}: '{name}' ({type(layer).__name__}) would begin "
                "without the pretrained weight; say base=scratch, or method/init=spectral where "
                "the layer is factorised"
            )


def check_kept(model: Any, targets: Sequence[str]) -> None:
    """Raise ConfigError when an adapter gave back something else than the adapted model."""
    if not isinstance(model, nn.Module):
        raise ConfigError(
            f"method.adapter: returned {type(model).__name__}; it must return the model"
        )
    there = dict(model.named_modules())
    for target in targets:
        if target not in there:
            raise ConfigError(
                f"method.adapter: the model that it returned has no '{target}'; the layers must "
                "keep their names"
            )


def check_contract(name: str, layer: nn.Module) -> None:
    """Raise ConfigError, in one line, for the first thing that a parametrisation must have."""
    if isinstance(layer, nn.Linear):
        return
    what = _what(name, layer)
    for size in ("in_features", "out_features"):
        if not isinstance(getattr(layer, size, None), int):
            raise ConfigError(f"{what} has no `{size}`; set it to that of the layer it replaces")
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
    weight = layer.effective_weight()  # type: ignore[operator]
    found = tuple(weight.shape) if isinstance(weight, torch.Tensor) else weight
    if found != expected:
        raise ConfigError(f"{what}: effective_weight() is {found}, must be {expected} (out, in)")


def _what(name: str, layer: nn.Module) -> str:
    return f"method.adapter: {type(layer).__name__} at '{name}'"


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
