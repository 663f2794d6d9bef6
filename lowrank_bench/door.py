"""The door for other people's training loops."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lowrank_bench.build import build
from lowrank_bench.checks import check
from lowrank_bench.compose import composed
from lowrank_bench.errors import ConfigError
from lowrank_bench.method import Method
from lowrank_bench.mistakes import in_one_line

OWN_MODEL = ("method.targets=['*']", "method.head=null")  # what a recipe reads of our models


def load_method(
    name: str,
    overrides: Sequence[str] = (),
    *,
    seed: int = 0,
    config_dir: str | Path | None = None,
) -> Method:
    """A packaged recipe, ready for a model and a loop of one's own; see Method for its parts.

    `overrides` are those of the command line: `rank=8`, `lr=1e-4`, `method/init=pissa`,
    `method.adapter.alpha=4`, `+method.adapter.config.x=1`. Every nn.Linear and nn.Conv2d
    is a target and no head is set apart, unless they say otherwise: `method.targets=[encoder.*]`,
    `method.head=classifier`. `seed` decides all that the method draws. `config_dir` is a folder
    of one's own recipes and slots, as with `--config-dir`. May be called inside of another
    Hydra app.

    Raises: ConfigError, one line with the nearest name, for whatever does not exist or fit.
    """
    return assemble(compose_method(name, overrides, seed=seed, config_dir=config_dir), seed)


def compose_method(
    name: str, overrides: Sequence[str], *, seed: int, config_dir: str | Path | None
) -> dict[str, Any]:
    """The resolved `method` node that `load_method` builds; composing it takes a quarter second."""
    for override in overrides:
        if override.partition("=")[0].strip() == "method":
            raise ConfigError(f"{override}: the recipe is given by its name, '{name}'")
    given = [f"method={name}", *OWN_MODEL, *overrides]
    try:
        cfg = composed([*given, f"seed={seed}"], config_dir)
        check(cfg)
        node = OmegaConf.to_container(cfg.method, resolve=True)
    except HydraException as error:
        raise ConfigError(in_one_line(error, given)) from None
    except OmegaConfBaseException as error:  # of an interpolation
        raise ConfigError(f"method: {' '.join(str(error).split())}") from None
    assert isinstance(node, dict)
    return {str(key): item for key, item in node.items()}


def assemble(node: dict[str, Any], seed: int) -> Method:
    """The Method that a resolved node describes."""
    return Method(seed=seed, **build(node, "method"))
