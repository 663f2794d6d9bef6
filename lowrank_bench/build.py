"""The one door from config to objects."""

import inspect
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from lowrank_bench.errors import ConfigError
from lowrank_bench.names import hint


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
        raise ConfigError(f"{key}: {_line(cause or error)}") from error


def _check(content: Any, key: str) -> None:
    """Hydra's struct mode lets `+key=` through; the target's own signature does not."""
    if not isinstance(content, dict):
        return
    for name, item in content.items():
        _check(item, f"{key}.{name}")
    if "_target_" not in content:
        return
    try:
        target = get_object(content["_target_"])
    except Exception as error:
        raise ConfigError(f"{key}._target_={content['_target_']}: {_line(error)}") from None
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


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
