"""How an adapted layer starts, and the checks of a model around that."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from inspect import isclass
from typing import Any

import torch
from torch import nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.layer import Layer

INHERIT = "lowrank_bench.layers.layer.Layer"
PLAIN = (nn.Linear, nn.Conv2d)  # what a method may act on
DRIFT = 1e-5  # of the largest output; single precision's own error is below 1e-6


def start(name: str, layer: nn.Module, init: Any, seed: int, **needs: Any) -> None:
    """Fill `layer`, called `name`, by `init` under its own seed; check what came out.

    Raises: ConfigError when the init is not made for the layer, when the layer breaks the
    contract of a parametrisation, or when one with a base no longer computes what that did.
    """
    plain = {nn.Linear: "dense", nn.Conv2d: "conv"}
    own = next((domain for kind, domain in plain.items() if isinstance(layer, kind)), None)
    domain = getattr(layer, "domain", own)
    if domain is None:
        raise ConfigError(f"{_what(name, layer)} has no `domain`; inherit {INHERIT}")
    if init is None:
        if domain in (*plain.values(), "peft"):  # as the model, or the layer's own library, drew it
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
        if not has_values(layer):  # it is planned with, and nothing can be filled or compared
            return
        before = _outputs(base) if base is not None else None
        init(layer, **needs)
        if isinstance(layer, Layer):
            layer.finish_start()
        if before is not None:
            _check_same_start(name, layer, before, declared.__name__)


def has_values(module: nn.Module) -> bool:
    """Whether its parameters hold numbers, and not only shapes (device `meta`)."""
    return not any(parameter.is_meta for parameter in module.parameters())


@contextmanager
def drawing(seed: int, module: nn.Module) -> Iterator[None]:
    """The global generators at `seed`, of the CPU and where `module` lies; afterwards as before."""
    devices = {p.get_device() for p in module.parameters() if p.is_cuda}
    with torch.random.fork_rng(devices=sorted(devices)):
        if devices:
            torch.manual_seed(seed)
        else:  # without a note to each GPU that nobody uses, which costs more than the draw
            torch.default_generator.manual_seed(seed)
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


def check_hits(model: nn.Module, targets: Sequence[str], globs: Sequence[str]) -> None:
    """Raise ConfigError when the globs, each of them a `maybe:`, matched no layer at all."""
    if targets:
        return
    shown = ", ".join([*globs[:3], *(["..."] if len(globs) > 3 else [])])
    kinds = {
        type(module).__name__
        for module in model.modules()
        if not isinstance(module, (*PLAIN, nn.Embedding))
        and any(parameter.ndim > 1 for parameter in module.parameters(recurse=False))
    }
    why = f"; {', '.join(sorted(kinds))} is none that a method can act on" if kinds else ""
    raise ConfigError(f"method.targets=[{shown}]: hits no layer of the model{why}")


def check_replaceable(model: nn.Module, targets: Sequence[str], adapter: Any) -> None:
    """Raise ConfigError for a target that `adapter` cannot replace, or not without others.

    A function of one's own that replaces convolutions too has an attribute `convolutional`.
    """
    declared = declared_by(adapter)
    layer = getattr(declared, "__self__", declared)  # the class, where it is a Layer's adapt
    if getattr(layer, "convolutional", None) is None:
        for target in targets:
            if isinstance(model.get_submodule(target), nn.Conv2d):
                what = layer.__name__ if isclass(layer) else f"{layer.__module__}.{layer.__name__}"
                raise ConfigError(
                    f"method.adapter={what}: '{target}' is a convolution (Conv2d), and only "
                    "LoRA acts on those; name linear layers in method.targets"
                )
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    for target in targets:
        if not target:
            raise ConfigError(
                f"method.targets: the model is itself an nn.{type(model).__name__}; put it into "
                "an nn.Sequential"
            )
        for parameter in model.get_submodule(target).parameters():
            if len(shared := names[id(parameter)]) > 1:
                raise ConfigError(
                    f"method.targets: '{target}' shares its weight ({', '.join(shared)}); leave "
                    "it out, or give each place a weight of its own"
                )


def check_base_is_used(model: nn.Module, targets: Sequence[str], init: Any) -> None:
    """Raise ConfigError when a target starts without the weight that the base has there."""
    declared = declared_by(init)
    if init is None or getattr(declared, "needs", None) == "dense":
        return
    for name in targets:
        layer = model.get_submodule(name)
        if getattr(layer, "domain", None) != "peft" and getattr(layer, "base", None) is None:
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
    if isinstance(layer, PLAIN):
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
    if isinstance(base := getattr(layer, "base", None), nn.Conv2d):
        expected = tuple(base.weight.shape)
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
    x = torch.randn(8, *_input_shape(layer), generator=generator)
    training = layer.training
    try:
        return layer.eval()(x.to(weight))
    finally:
        layer.train(training)


def _input_shape(layer: Any) -> tuple[int, ...]:
    """Of one input: (i), or (i, h, w) of an image on which a kernel has room to move."""
    conv = getattr(layer, "base", layer)
    if not isinstance(conv, nn.Conv2d):
        return (int(layer.in_features),)
    sizes = zip(conv.kernel_size, conv.dilation, conv.stride, strict=True)
    return conv.in_channels, *(
        (kernel - 1) * dilation + 1 + stride for kernel, dilation, stride in sizes
    )


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
