"""What a run is: the fingerprint of (control, method, seed)."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError

from lowrank_bench.base import OWN, base_config
from lowrank_bench.errors import ConfigError
from lowrank_bench.presets import resolved

CONTROL = ("data", "model", "base", "budget", "precision")
# Where the files lie does not decide the outcome; what they hold does, and the record has
# their checksum.
EXECUTION_ONLY = ("root", "cache")


@dataclass(frozen=True)
class Identity:
    """Hashes of the resolved config; equal exactly when the same thing would be trained."""

    fingerprint: str
    control_hash: str
    method_hash: str
    seed: int
    name: dict[str, Any]  # {method, data, model, base, rank, lr}

    @property
    def label(self) -> str:
        """A readable name of the run, e.g. `lowrank-r8-lr0.001-s0`."""
        rank, lr = self.name["rank"], self.name["lr"]
        parts = [str(self.name["method"])]
        parts += [f"r{rank}"] if rank is not None else []
        parts += [f"lr{lr:g}"] if lr is not None else []
        return "-".join([*parts, f"s{self.seed}"])


def identify(cfg: DictConfig) -> Identity:
    """Take the identity of a composed config.

    The control is every resolved node that decides the outcome beside the method; the method
    is its own node without its name, so that a recipe and the same thing typed out on the
    command line are one run. `rank` and `lr` enter only where the method interpolates them. Of a
    base that is trained here the control has the fingerprint, and so none of the run's knobs.
    """
    try:
        control = {key: _resolved(cfg, key) for key in CONTROL if key != "base"}
        control["base"] = _base(cfg)
        method = _resolved(cfg, "method")
    except InterpolationKeyError as error:
        what = str(error).splitlines()[0]
        raise ConfigError(
            f"{error.full_key}: {what}; data={cfg.data.get('name')} and "
            f"model={cfg.model.get('name')} may not go together"
        ) from None
    except Exception as error:  # omegaconf raises a family of its own here
        raise ConfigError(" ".join(str(error).split())) from None
    control = _without_places(control)
    if isinstance(method.get("targets"), str):
        method["targets"] = resolved(method["targets"], control["model"].get("presets") or {})
    name = {
        "method": method.pop("name", "unnamed"),
        "data": control["data"].get("name"),
        "model": control["model"].get("name"),
        "base": control["base"].get("name"),
        "rank": next(filter(None, (_first(method, key) for key in ("rank", "dimension"))), None),
        "lr": _first(method.get("optimizer", {}), "lr"),
    }
    return Identity(
        fingerprint=_digest([control, method, cfg.seed]),
        control_hash=_digest(control),
        method_hash=_digest(method),
        seed=cfg.seed,
        name=name,
    )


def _base(cfg: DictConfig) -> Any:
    """The node `base`, the fingerprint in the place of what a base that is trained here is."""
    base = base_config(cfg)
    if base is None:
        return _resolved(cfg, "base")
    rest = {str(key): _resolved(cfg.base, str(key)) for key in cfg.base if key not in OWN}
    return rest | {"fingerprint": identify(base).fingerprint}


def _resolved(cfg: DictConfig, key: str) -> Any:
    node = cfg[key]
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _without_places(node: Any) -> Any:
    """All but where files lie, at any depth: a base has data of its own."""
    if isinstance(node, dict):
        return {k: _without_places(v) for k, v in node.items() if k not in EXECUTION_ONLY}
    return node


def _first(node: Any, key: str) -> Any:
    """The first value of `key` at any depth: recipes keep their rank in different slots."""
    if isinstance(node, dict):
        if key in node:
            return node[key]
        found = (_first(item, key) for item in node.values())
        return next((item for item in found if item is not None), None)
    return None


def _digest(content: Any) -> str:
    canonical = json.dumps(_numbers(content), sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _numbers(value: Any) -> Any:
    """`lr=1` and `lr=1.0` are one number."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return value
