"""Where the starting weights come from: the config node `base`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from lowrank_bench.errors import ConfigError

FOLDER = ".bases"  # under the runs folder; hidden, so that no report ranks a base
CLOSED = ("lr", "seed", "epochs", "precision")  # a base's own, never the run's
# What decides what is trained for a base, by its place in the config of the run that does it
OWN = {"method": "method", "source": "data", "budget": "budget"} | {key: key for key in CLOSED}
ITS = {key: own for own, key in OWN.items()}
KEYS = "|".join(ITS)
KEY = re.compile(
    rf"(?<![\w./-])({KEYS})(?=[.=]\S)|^({KEYS})(?=:)"
)  # `lr=0`, `data.root=`, `lr: ...`


def has_base(cfg: DictConfig) -> bool:
    """Whether a run begins with weights that were trained before."""
    return bool(cfg.base.load_weights) or cfg.base.get("method") is not None


def base_config(cfg: DictConfig) -> DictConfig | None:
    """The run that trains the base of `cfg`; None where nothing is to be trained.

    It is a run like any other, of the same model on the source's data, with what `base` says in
    the place of method, knobs and budget. Its own base is whatever the model begins with.
    """
    if cfg.base.get("method") is None:
        return None
    base = deepcopy(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]))
    own = base.base
    with open_dict(base):
        for key in CLOSED:
            base[key] = own[key]
        base.rank = 1  # no part of full training, but a knob that must be there
        base.method, base.data, base.budget = own.method, own.source, own.budget
        base.run.dir = str(Path(cfg.run.dir) / FOLDER)
        base.run.test = base.run.keep_checkpoint = True  # whatever the runs do, they need it
        base.logger = None
        base.base = {
            "name": "from_model" if own.load_weights else "scratch",
            "load_weights": own.load_weights,
            "head": "kept",
            "source": None,
        }
    return base


def resolved_base(cfg: DictConfig) -> dict[str, Any]:
    """The node `base`, each value as the run that trains the base has it, not the run of `cfg`."""
    node: Any = OmegaConf.to_container(cfg.base, resolve=True)
    base = base_config(cfg)
    if base is None:
        return node
    return node | {
        own: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for own, value in ((own, base[key]) for own, key in OWN.items())
    }


@contextmanager
def of_the_base() -> Iterator[None]:
    """A mistake in the config of a base's run is told by its key in the run's own."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(_told(str(error))) from error


def _told(line: str) -> str:
    return KEY.sub(lambda found: f"base.{ITS[found[0]]}", line)
