"""From the config node of an adapter to the fields of a PEFT config."""

import re
from collections.abc import Sequence
from dataclasses import fields
from math import ceil
from typing import Any

from lowrank_bench.errors import ConfigError
from lowrank_bench.names import hint, match

KEY = "method.adapter.config"
OURS = {
    "target_modules": "method.targets says which layers are adapted",
    "task_type": "the bridge adapts plain models, which have no task",
    "inference_mode": "the bridge adapts a model in order to train it",
    "modules_to_save": "method.head and method.trainable say what else trains",
    "total_step": "the length of training is known to the run, which sets it",
}
PENDING = 10**9  # updates: stands for AdaLoRA's total_step until the run's length is known
INIT_RANKS = 1.5  # AdaLoRA's start in ranks of its end: PEFT's 12 to 8


def check_fields(cls: type, given: dict[str, Any]) -> None:
    """Raise ConfigError for a field that the PEFT config class lacks, or that is not the user's."""
    known = [field.name for field in fields(cls) if field.init and field.name not in OURS]
    for name in given:
        if name in OURS:
            raise ConfigError(f"{KEY}.{name}: {OURS[name]}")
        if name not in known:
            raise ConfigError(
                f"{KEY}.{name}: peft.{cls.__name__} has no '{name}'{hint(name, known)}"
            )


def check_values(config: Any) -> None:
    """Raise ConfigError for values that PEFT takes, and that break down in training."""
    if (start := getattr(config, "init_r", None)) is not None and start <= config.target_r:
        raise ConfigError(
            f"{KEY}.init_r={start}: must be above target_r={config.target_r}, to which it falls"
        )
    if getattr(config, "use_asa", False):  # AdaMSS masks by requires_grad
        raise ConfigError(f"{KEY}.use_asa: its masks would be lost in a checkpoint")


def complete(
    cls: type, given: dict[str, Any], targets: Sequence[str], rank: int | None
) -> dict[str, Any]:
    """All fields that a PEFT config is made with: what was given, the targets, and the rank.

    The targets become a pattern of their exact names, since PEFT takes a listed name for the
    ending of a longer one too.
    """
    known = {field.name for field in fields(cls)}
    found = dict(given) | {"target_modules": exactly(targets)}
    if "feedforward_modules" in known:  # IA3: scaled at their input, all others at their output
        asked = given.get("feedforward_modules") or []
        if not isinstance(asked, str):  # which is a pattern of PEFT's own
            asked = match(asked, targets, key=f"{KEY}.feedforward_modules")
        found["feedforward_modules"] = exactly(asked)
    if "total_step" in known:
        found["total_step"] = PENDING
    return (by_rank(known, given, rank) if rank is not None else {}) | found


def by_rank(known: set[str], given: dict[str, Any], rank: int) -> dict[str, Any]:
    """The fields in which a tuner counts its rank; none where it has none.

    `r` for most. AdaLoRA ends at the rank on average and starts at 1.5 times it. OFT and BOFT
    have blocks: the rank is their size, by which their parameters grow.
    """
    if {"init_r", "target_r"} <= known:
        return {"target_r": rank, "init_r": ceil(INIT_RANKS * rank)}
    for size, count in (("oft_block_size", "r"), ("boft_block_size", "boft_block_num")):
        if size in known:
            return {size: 0 if given.get(count) else rank, count: 0}
    return {"r": rank} if "r" in known else {}


def takes_rank(cls: type) -> bool:
    """Whether the rank decides anything for this tuner."""
    return bool(by_rank({field.name for field in fields(cls)}, {}, 1))


def exactly(names: Sequence[str] | str) -> str:
    """A pattern that matches these names whole, and nothing for none."""
    if isinstance(names, str):
        return names
    return "|".join(map(re.escape, names)) or "(?!)"
