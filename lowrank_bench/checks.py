"""What can be said of a config before torch is imported."""

import math
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lowrank_bench.config_dir import config_dir
from lowrank_bench.errors import ConfigError
from lowrank_bench.head import RULES
from lowrank_bench.names import hint

NEEDED = ("method", "data", "model", "base", "budget")
KNOBS = [
    "method",
    "data",
    "model",
    "base",
    "budget",
    "logger",
    "rank",
    "lr",
    "seed",
    "epochs",
    "precision",
    "run",
    "sweep",
    "study",
    "experiment",
    "hydra",
]
RUN = [
    *("dir", "accelerator", "devices", "threads", "block", "log_every", "eval_batch_size"),
    *("accumulate", "checkpoint_activations", "compile", "test", "keep_checkpoint"),
]
BUDGET = ["epochs", "batch_size", "shuffle", "selection", "test_every_epoch"]
NULLABLE = ["updates_per_epoch", "clip_norm"]  # of the budget
BASE = ["name", "load_weights", "head"]
BASE_TRAINED = ["source", "method", "budget", "lr", "seed", "epochs", "precision"]
OPTIONAL = ("logger", "sweep", "study", "experiment", "hydra")
PRECISIONS = ("32-true", "64-true", "16-mixed", "bf16-mixed", "bf16-true")
SELECTIONS = ("last", "best_val_accuracy", "best_val_loss")
ACCELERATORS = ("cpu", "gpu", "cuda", "mps", "auto")


def check(cfg: DictConfig) -> None:
    """Raise ConfigError for the first knob that cannot be right."""
    _known(cfg, "", KNOBS)
    _whole(cfg, "", [key for key in KNOBS if key not in OPTIONAL])
    _known(cfg.run, "run.", RUN)
    _whole(cfg.run, "run.", RUN)
    for key in ("devices", "threads", "log_every", "accumulate"):
        _positive_int(f"run.{key}", cfg.run[key])
    if cfg.run.eval_batch_size != "auto":
        _positive_int("run.eval_batch_size", cfg.run.eval_batch_size)
    _check_what_trains(cfg, cfg.run, "")
    _check_base(cfg.base, cfg.run)
    _check_seeds(cfg)
    if (lr := OmegaConf.select(cfg, "method.optimizer.lr")) is not None:
        _positive_number("method.optimizer.lr", lr)
    _positive_int("rank", cfg.rank)
    if cfg.run.block != "auto":
        _positive_int("run.block", cfg.run.block)
        if block_size(cfg) != cfg.run.block:
            raise ConfigError(
                f"run.block={cfg.run.block}: must be 1 or auto with precision={cfg.precision} "
                f"on {cfg.run.devices} device(s), with run.compile={cfg.run.compile} and "
                f"run.accumulate={cfg.run.accumulate}"
            )
    _one_of("run.accelerator", cfg.run.accelerator, ACCELERATORS)
    for key in ("checkpoint_activations", "compile", "test", "keep_checkpoint"):
        _one_of(f"run.{key}", cfg.run[key], (True, False))
    if not str(cfg.run.dir).strip():
        raise ConfigError("run.dir: names no folder")


def check_choices(overrides: Sequence[str]) -> None:
    """Raise ConfigError for a choice of null, for which Hydra has no line.

    A group that a run needs must be chosen; any other is left out by a tilde.
    """
    for override in overrides:
        group, _, choice = override.partition("=")
        if not (folder := config_dir() / group).is_dir():
            continue
        if group in NEEDED and (choice in ("", "null") or not choice.strip("'\"")[:1].isalpha()):
            options = sorted(path.stem for path in folder.glob("*.yaml"))
            raise ConfigError(f"{override}: must be one of {', '.join(options)}")
        if "null" in choice.split(","):
            raise ConfigError(f"{override}: a choice cannot be null; leave it out by '~{group}'")


def block_size(cfg: DictConfig) -> int:
    """Optimizer updates in one Lightning step; it changes speed alone, never a bit.

    Autocast keeps casted weights for as long as its context lives and DDP synchronises once a
    step, so both train one update at a time.
    """
    is_plain = cfg.run.devices == cfg.run.accumulate == 1 and not cfg.run.compile
    if not is_plain or cfg.precision.endswith("mixed"):
        return 1
    return 16 if cfg.run.block == "auto" else cfg.run.block


def _check_seeds(cfg: DictConfig) -> None:
    """A fresh head under the base's own seed is the head that the base itself began with.

    On Fashion-MNIST's halves full training then forgets 70 points, and 24 under other seeds: each
    new class is learned along the directions of an old one.
    """
    if cfg.base.head == "fresh" and cfg.base.get("seed") == cfg.seed:
        raise ConfigError(
            f"seed={cfg.seed}: is base.seed too, so that the fresh head would begin as the base's "
            "head began; choose another"
        )


def _check_base(base: DictConfig, run: DictConfig) -> None:
    """A base that is trained here says all of how; another says none of it but its source."""
    _known(base, "base.", [*BASE, *BASE_TRAINED])
    _whole(base, "base.", BASE)
    _one_of("base.load_weights", base.load_weights, (True, False))
    _one_of("base.head", base.head, RULES)
    given = [key for key in BASE_TRAINED if base.get(key) is not None]
    if given == ["source"] and not base.load_weights:
        raise ConfigError(
            f"base.source: base={base.name} was trained on nothing; say base=pretrained_here, or "
            "base=from_model where the model brings weights"
        )
    if given in ([], ["source"]):
        return
    _whole(base, "base.", BASE_TRAINED)
    _check_what_trains(base, run, "base.")
    if base.method.get("adapter") is not None:
        raise ConfigError(
            "base.method.adapter: a base is a plain model; take method@base.method=full or another "
            "method without an adapter"
        )


def _check_what_trains(node: DictConfig, run: DictConfig, prefix: str) -> None:
    """What a run has for itself, and a base that is trained for it in its own node."""
    _positive_number(f"{prefix}lr", node.lr)
    _positive_int(f"{prefix}epochs", node.epochs)
    _one_of(f"{prefix}precision", node.precision, PRECISIONS)
    if isinstance(node.seed, bool) or not isinstance(node.seed, int) or node.seed < 0:
        swept = _sweep("seed", node.seed)
        raise ConfigError(
            f"{prefix}seed={_shown(node.seed)}: must be a whole number, 0 or more{swept}"
        )
    _check_budget(node.budget, f"{prefix}budget.")
    _check_per_layer(run, node, prefix)


def _check_budget(budget: DictConfig, prefix: str) -> None:
    _known(budget, prefix, [*BUDGET, *NULLABLE])
    _whole(budget, prefix, BUDGET)
    for key in NULLABLE:
        if key not in budget:
            raise ConfigError(f"{prefix}{key}: is missing; null is none")
    for key in ("batch_size", "epochs"):
        _positive_int(f"{prefix}{key}", budget[key])
    for key in ("shuffle", "test_every_epoch"):
        _one_of(f"{prefix}{key}", budget[key], (True, False))
    _one_of(f"{prefix}selection", budget.selection, SELECTIONS)
    if (norm := budget.get("clip_norm")) is not None:
        _positive_number(f"{prefix}clip_norm", norm)
    if (limit := budget.get("updates_per_epoch")) is not None:
        _positive_int(f"{prefix}updates_per_epoch", limit)
        if not budget.shuffle:
            raise ConfigError(
                f"{prefix}updates_per_epoch={limit}: every epoch would be the same first batches; "
                f"say {prefix}shuffle=true"
            )


def _check_per_layer(run: DictConfig, node: DictConfig, prefix: str) -> None:
    """A rule that steps inside the backward pass leaves no gradients to clip or to add to."""
    if not OmegaConf.select(node, "method.transform.per_layer"):
        return
    for key, refused in (
        (f"{prefix}budget.clip_norm={node.budget.get('clip_norm')}", node.budget.get("clip_norm")),
        (f"run.accumulate={run.accumulate}", run.accumulate > 1),
        (f"run.devices={run.devices}", run.devices > 1),
        (f"{prefix}precision={node.precision}", node.precision == "16-mixed"),
    ):
        if refused:
            raise ConfigError(
                f"{key}: does not go with {prefix}method.transform.per_layer=true, which steps "
                "each parameter within the backward pass; say per_layer=false"
            )


def _known(node: DictConfig, prefix: str, known: list[str]) -> None:
    for key in node:
        if key not in known:
            raise ConfigError(f"{prefix}{key}: there is no such key{hint(str(key), known)}")


def _whole(node: DictConfig, prefix: str, needed: list[str]) -> None:
    for key in needed:
        if node.get(key) is None:
            raise ConfigError(f"{prefix}{key}: is missing; it must be given")


def _positive_int(key: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(
            f"{key}={_shown(value)}: must be a positive whole number{_sweep(key, value)}"
        )


def _positive_number(key: str, value: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value < math.inf:
        raise ConfigError(f"{key}={_shown(value)}: must be a positive number{_sweep(key, value)}")


def _one_of(key: str, value: Any, known: tuple[Any, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{key}={_shown(value)}: must be one of {', '.join(map(str, known))}")


def _shown(value: Any) -> str:
    return str(OmegaConf.to_container(value) if OmegaConf.is_config(value) else value)


def _sweep(key: str, value: Any) -> str:
    if not OmegaConf.is_list(value):
        return ""
    return f"; to try several, sweep: -m {key}={','.join(map(str, value))}"
