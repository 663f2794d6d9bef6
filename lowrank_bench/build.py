"""The one door from config to objects."""

import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from lowrank_bench.errors import ConfigError
from lowrank_bench.names import hint, nearest

# Packages that targets may come from, and the extra that installs each.
EXTRAS = {"peft": "peft", "transformers": "hf", "datasets": "hf"}


def build(node: DictConfig | dict[str, Any], key: str) -> Any:
    """Instantiate what `node` describes; `key` is its place in the config.

    Raises: ConfigError when a target cannot be imported or does not know a parameter, with
    the nearest one that it knows; a ConfigError from inside the target comes through as it is.
    """
    content = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    _check(content, key)
    try:
        return instantiate(content, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ConfigError):
            raise cause from None
        line = _line(cause or error)
        if "required positional argument" in line:
            line += "; where a slot is to be called later, its YAML says `_partial_: true`"
        raise ConfigError(f"{key}: {line}") from error


def _check(content: Any, key: str) -> None:
    """Hydra's struct mode lets `+key=` through; the target's own signature does not."""
    if not isinstance(content, dict):
        return
    if "_target_" in content:
        _check_target(content, key)
    for name, item in content.items():
        _check(item, f"{key}.{name}")


def _check_target(content: dict[str, Any], key: str) -> None:
    if not isinstance(content["_target_"], str):
        raise ConfigError(f"{key}._target_={content['_target_']}: must be a dotted name")
    try:
        with _silent_hydra():
            target = get_object(content["_target_"])
    except Exception as error:
        why = _missing(content["_target_"]) or _line(error)
        raise ConfigError(f"{key}._target_={content['_target_']}: {why}") from None
    try:
        parameters = inspect.signature(target).parameters.values()
    except ValueError:  # a builtin without a signature
        return
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    known = [p.name for p in parameters if p.kind is not p.POSITIONAL_ONLY]
    for name in content:
        if name not in known and not (name.startswith("_") and name.endswith("_")):
            raise ConfigError(
                f"{key}.{name}: {content['_target_']} has no '{name}'{hint(name, known)}"
            )


@contextmanager
def _silent_hydra() -> Iterator[None]:
    """What cannot be imported is our line to print; Hydra would print its own before."""
    log = logging.getLogger("hydra.utils")
    was, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = was


def _missing(target: str) -> str:
    """What to install, or which name was probably meant; empty where neither is known."""
    root, *rest = target.split(".")
    if not root or find_spec(root) is None:
        extra = f"; pip install 'lowrank-bench[{EXTRAS[root]}]'" if root in EXTRAS else ""
        return f"there is no package '{root}' here{extra}"
    holder = root
    for name in rest:
        try:
            with _silent_hydra():
                there = dir(get_object(holder))
        except Exception:  # it is there, and breaks when it is imported
            return ""
        if name not in there and not _is_module(f"{holder}.{name}"):
            close = nearest(name, there)
            meant = f"; did you mean '{holder}.{close}'?" if close else ""
            return f"{holder} has no '{name}'{meant}"
        holder = f"{holder}.{name}"
    return ""


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is no package
        return False


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
