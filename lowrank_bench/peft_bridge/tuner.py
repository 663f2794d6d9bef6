"""Put a tuner of PEFT on the linear layers of a plain model."""

import inspect
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from functools import partial
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.rank import check_rank
from lowrank_bench.peft_bridge.dense import bridge_layer, responses
from lowrank_bench.peft_bridge.fields import KEY, check_fields, check_values, complete
from lowrank_bench.peft_bridge.package import import_peft
from lowrank_bench.start import DRIFT

NAME = "default"  # PEFT keeps several adapters in one model; we need one
HARMLESS = (
    "Failed to load the CUDA extension",  # BOFT computes without it
    "Setting boft_n_butterfly_factor to 1 to speed up",  # it is 1 already
    "Sparse invariant checks are implicitly disabled",  # torch's, of FRoD
)
ADJUSTED = re.compile(r"Adjusted `(\w+)` to \((\d+)\)")


def adapt(
    model: nn.Module,
    names: Sequence[str],
    *,
    config: Callable[..., Any],
    rank: int | None = None,
    same_start: bool = True,
) -> nn.Module:
    """Adapt the named nn.Linear layers of `model` in place by a PEFT tuner; returns `model`.

    `config` is a config class of PEFT, or a partial of one, e.g. `partial(peft.LoHaConfig,
    alpha=4)`; `rank` goes to the field in which that tuner counts it. The model stays a plain
    module whose other parameters keep their names; the tuner stands beside it (`tuner_of`).
    Each layer gets what our own have: `roles` (the tuner's names), `effective_weight()`,
    `merge_()`, `start_drift`. PEFT draws from the global generator.

    Raises: ConfigError, one line that names the tuner, when it cannot act on linear layers of a
    plain model, refuses a field or a shape, or changes a number in silence; and, unless
    `same_start` is False, when an adapted layer no longer computes what its base did.
    """
    cls, given = _taken_apart(config)
    if rank is not None:
        check_rank(rank, "method.adapter.rank")
    tuner_class = _tuner_class(cls)
    check_fields(cls, given)
    bases = {name: model.get_submodule(name) for name in names}
    before = {name: responses(layer) for name, layer in bases.items()}
    old = {id(parameter) for parameter in model.parameters()}
    model.requires_grad_(False)
    with _in_one_line(cls), _quietly(cls):
        peft_config = cls(**complete(cls, given, names, rank))
        check_values(peft_config)
        tuner = tuner_class(model, {NAME: peft_config}, NAME)
    adapted = [name for name in names if model.get_submodule(name) is not bases[name]]
    if missed := [name for name in names if name not in adapted]:
        raise ConfigError(f"{KEY}: {_tuner(cls)} did not adapt {', '.join(missed)}")
    _keep_shared(tuner, model, names[0])
    for name in names:
        layer: Any = model.get_submodule(name)
        with _in_one_line(cls), _quietly(cls):
            bridge_layer(layer, bases[name])
            after = responses(layer)
        drift, moved = _drift(cls, name, before[name], after)
        if moved and same_start:
            raise ConfigError(
                f"{KEY}: {_tuner(cls)} at '{name}' no longer computes what its base did; its "
                f"output moved by {drift:.2g} of the largest. Change how it starts (init_weights "
                "in most), or accept it: method.adapter.same_start=false"
            )
        layer.start_drift, layer.starts_elsewhere = drift, moved
    if not any(p.requires_grad and id(p) not in old for p in model.parameters()):
        raise ConfigError(f"{KEY}: {_tuner(cls)} added nothing that trains")
    object.__setattr__(model, "peft_tuner", tuner)  # beside the modules: it holds the model
    return model


def tuner_of(model: nn.Module) -> Any:
    """The tuner that `adapt` put on the model, with its allocator if it has one; else None."""
    return getattr(model, "peft_tuner", None)


def _taken_apart(config: Callable[..., Any]) -> tuple[type, dict[str, Any]]:
    """The config class and the fields given to it."""
    import_peft()
    from peft import PeftConfig

    cls: Any = config.func if isinstance(config, partial) else config
    if not (inspect.isclass(cls) and issubclass(cls, PeftConfig)):
        shown = getattr(cls, "__name__", cls)
        raise ConfigError(f"{KEY}._target_: must be a config class of peft, not {shown}")
    return cls, dict(config.keywords) if isinstance(config, partial) else {}


def _tuner_class(cls: type) -> type:
    """The tuner of a config class. Raises: ConfigError for one that adapts no layers."""
    from lowrank_bench.peft_bridge.tuners import tuner_class, why_not

    if reason := why_not(cls):
        raise ConfigError(f"{KEY}._target_=peft.{cls.__name__}: {reason}")
    found = tuner_class(cls)
    assert found is not None
    return found


def _tuner(cls: type) -> str:
    return f"peft.{cls.__name__}"


@contextmanager
def _in_one_line(cls: type) -> Iterator[None]:
    """Whatever PEFT raises, as one line that names the tuner."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{KEY}: {_tuner(cls)} refused: {said}") from error


@contextmanager
def _quietly(cls: type) -> Iterator[None]:
    """Keep PEFT's harmless remarks to ourselves; a number that it changed is an error."""
    compiler = logging.getLogger("torch.utils.cpp_extension")  # BOFT's, which it does without
    level = compiler.level
    compiler.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(record=True) as said, redirect_stderr(StringIO()):  # bars
            warnings.simplefilter("always")
            yield
    finally:
        compiler.setLevel(level)
    for warning in said:
        text = str(warning.message)
        if changed := ADJUSTED.search(text):
            raise ConfigError(
                f"{KEY}.{changed[1]}: {_tuner(cls)} cannot divide the features of every layer by "
                f"it, and would take {changed[2]} instead; give one that divides them all"
            )
        if not text.startswith(HARMLESS):
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


def _keep_shared(tuner: nn.Module, model: nn.Module, first: str) -> None:
    """Give the first layer what lives on the tuner alone, so that it moves with the model."""
    tensors = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    for name, child in tuner.named_children():
        own = {id(tensor) for tensor in (*child.parameters(), *child.buffers())}
        if child is not model and not own <= tensors:
            model.get_submodule(first).add_module(f"shared_{name}", child)


def _drift(cls: type, name: str, before: Tensor, after: Tensor) -> tuple[float, bool]:
    """How far the output moved, as a part of the largest, and whether that is beyond rounding."""
    if after.shape != before.shape:
        raise ConfigError(
            f"{KEY}: {_tuner(cls)} at '{name}' gives {tuple(after.shape)} where its base gave "
            f"{tuple(before.shape)}"
        )
    if after.is_meta:  # planned with: there are no values to compare
        return 0.0, False
    drift = float((after - before).abs().max()) / (float(before.abs().max()) or 1.0)
    bound = DRIFT if before.dtype in (torch.float32, torch.float64) else 2e-2
    return drift, not drift <= bound
