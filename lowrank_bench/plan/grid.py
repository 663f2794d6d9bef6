"""From a command line to the configs that it asks for."""

from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lowrank_bench.checks import check
from lowrank_bench.compose import composed, composed_each, first_point, is_choice
from lowrank_bench.identity import identify

TOKENS = "data=random_tokens"


def grid(
    overrides: Sequence[str], folder: Path | None = None, *, sweep: bool = False
) -> list[DictConfig]:
    """The configs of `lowrank-bench [-m] OVERRIDES`, each that would cost something else once.

    An experiment's own sweep is one here too. Where the model reads tokens and no data were
    chosen, they are random ones: a plan needs their shape alone.
    Raises: ConfigError, or Hydra's errors, for overrides that do not fit.
    """
    words = list(overrides)
    files = [word for word in (first_point(words) if sweep else words) if is_choice(word, folder)]
    first = composed(files, folder, with_hydra=True)
    more = _wants_tokens(first) and not any(_key(word) == "data" for word in words)
    words += [TOKENS] if more else []
    if not sweep and first.hydra.mode != RunMode.MULTIRUN:
        configs = [composed(words, folder)]
    else:
        given = {_key(word) for word in words}
        own = first.hydra.sweeper.params or {}
        words += [f"{key}={value}" for key, value in own.items() if key not in given]
        parsed = OverridesParser.create().parse_overrides(words)
        (points,) = BasicSweeper.split_arguments(parsed, None)
        configs = composed_each(points, folder)
    found: dict[str, DictConfig] = {}
    for cfg in configs:
        check(cfg)
        found.setdefault(what_costs(cfg), cfg)
    return list(found.values())


def what_costs(cfg: DictConfig) -> str:
    """One text for all configs that differ in seed or learning rate alone."""
    alike = cfg.copy()
    alike.seed, alike.lr = 0, 1.0
    if alike.base.get("seed") == 0:  # which a fresh head refuses
        alike.seed = 1
    return identify(alike).fingerprint


def _wants_tokens(cfg: DictConfig) -> bool:
    """Whether the model's shape depends on a vocabulary that the data do not have."""
    text = str(OmegaConf.to_container(cfg.model, resolve=False))
    return "data.vocab_size" in text and "vocab_size" not in cfg.data


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")
