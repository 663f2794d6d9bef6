"""Hydra's errors in one line that names the key, the value and what would be right."""

import re

from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf

from lowrank_bench.compose import composed, first_point
from lowrank_bench.config_dir import config_dir
from lowrank_bench.errors import ConfigError
from lowrank_bench.names import hint, nearest


def in_one_line(error: Exception, overrides: list[str]) -> str:
    """The line to print for `error`, which `overrides` provoked."""
    text = " ".join(str(error).split())
    if isinstance(error, ConfigError):
        return text
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        known = error.options or []
        return f"{group}={choice}: there is no such choice{hint(choice, known)}" if group else text
    if key := _unknown_key(text):
        return f"{key}: there is no such key{_meant(key, overrides)}"
    if ambiguous := re.search(r"Ambiguous value for argument '(.+?)'", text):
        # Where a config makes the sweep, Hydra comes here for any mistake in it.
        if (mistake := _in_first_point(overrides)) is not None:
            return in_one_line(mistake, first_point(overrides))
        return f"{ambiguous[1]}: several values make a sweep; say -m {ambiguous[1]}"
    cause = error.__cause__
    return (
        text if cause is None or str(cause) in text else f"{text} ({' '.join(str(cause).split())})"
    )


def _in_first_point(overrides: list[str]) -> Exception | None:
    try:
        composed(first_point(overrides))
    except Exception as error:
        return error
    return None


def _unknown_key(text: str) -> str | None:
    for pattern in (r"Could not override '([^']+)'", r"full_key: (\S+)"):
        if found := re.search(pattern, text):
            return found[1]
    return None


def _meant(key: str, overrides: list[str]) -> str:
    """The nearest of all keys of the config with these choices, deep ones included."""
    known = _keys(OmegaConf.to_container(_chosen(overrides), resolve=False), "")
    beside = [name for name in known if name.rpartition(".")[0] == key.rpartition(".")[0]]
    close = nearest(key, beside) or nearest(key, known)
    return f"; did you mean '{close}'?" if close else "; --cfg job shows all keys"


def _chosen(overrides: list[str]) -> DictConfig:
    """The config with those of the overrides that choose a packaged file."""
    choices = [each for each in overrides if _is_choice(each)]
    try:
        return composed(choices)
    except Exception:  # one of them is wrong too
        return composed([])


def _is_choice(override: str) -> bool:
    group, _, choice = override.partition("=")
    return (config_dir() / group / f"{choice}.yaml").is_file()


def _keys(node: object, prefix: str) -> list[str]:
    if not isinstance(node, dict):
        return []
    names = []
    for name, item in node.items():
        names += [f"{prefix}{name}", *_keys(item, f"{prefix}{name}.")]
    return names
