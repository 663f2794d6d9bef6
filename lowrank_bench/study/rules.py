"""The rules of a study from its config node."""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lowrank_bench.config_dir import config_dir
from lowrank_bench.errors import ConfigError
from lowrank_bench.names import hint
from lowrank_bench.protocol.ledger import Arm, Ledger, Rules
from lowrank_bench.protocol.optuna_search import require_optuna
from lowrank_bench.protocol.search import Space
from lowrank_bench.protocol.seeds_needed import seeds_needed

KEYS = (
    *("name", "search", "trials", "first", "per_decade", "tuning_seeds", "fresh_seeds"),
    *("references", "alpha", "margins", "metric", "duplicates", "centres", "knobs", "report"),
)
SEARCHES = ("grid", "optuna")
METRICS = ("auto", "accuracy", "loss")
FIRST_FRESH = 101


def ledger_of(node: DictConfig, control_hash: str, arms: list[Arm]) -> Ledger:
    """The study as it is before anything is trained.

    Raises: ConfigError for the first rule that cannot be right.
    """
    given: Any = OmegaConf.to_container(node, resolve=True)
    for key in given:
        if key not in KEYS:
            raise ConfigError(f"study.{key}: there is no such key{hint(key, KEYS)}")
    for key in KEYS:
        if given.get(key) is None:
            raise ConfigError(f"study.{key}: is missing")
    _one_of("search", given["search"], SEARCHES)
    _one_of("metric", given["metric"], METRICS)
    _one_of("report", given["report"], (True, False))
    if given["search"] == "optuna":
        require_optuna()
    trials = _whole("trials", given["trials"], 1)
    if not 0 < _number("alpha", given["alpha"]) < 1:
        raise ConfigError(f"study.alpha={given['alpha']}: must lie between 0 and 1")
    tuning = _seeds("tuning_seeds", given["tuning_seeds"])
    for key in ("margins", "centres", "knobs"):
        if not isinstance(given[key], dict):
            raise ConfigError(f"study.{key}={given[key]}: must name values by key")
    for recipe, knobs in given["knobs"].items():
        if not isinstance(knobs, dict) or not all(isinstance(v, list) for v in knobs.values()):
            raise ConfigError(
                f"study.knobs.{recipe}={knobs}: must be lists of values by key, as in "
                "{method.adapter.alpha: [8, 32]}"
            )
    if not isinstance(given["references"], list):
        raise ConfigError(f"study.references={given['references']}: must be a list of methods")
    # a packaged one need not take part; any other that does not is a slip, and compares nothing
    recipes = {path.stem for path in (config_dir() / "method").glob("*.yaml")}
    known = recipes | {arm.method for arm in arms}
    for reference in given["references"]:
        if reference not in known:
            raise ConfigError(
                f"study.references: {reference}: no such method{hint(str(reference), known)}"
            )
    margins = {key: _number(f"margins.{key}", value) for key, value in given["margins"].items()}
    if set(margins) != {"accuracy", "loss"}:
        raise ConfigError(f"study.margins: must name accuracy and loss, names {', '.join(margins)}")
    centres = {key: _number(f"centres.{key}", value) for key, value in given["centres"].items()}
    if "default" not in centres:
        raise ConfigError("study.centres.default: is missing")
    ledger = Ledger(
        name=str(given["name"]),
        control_hash=control_hash,
        rules=Rules(
            search=given["search"],
            trials=trials,
            first=min(_whole("first", given["first"], 1), trials),
            per_decade=_whole("per_decade", given["per_decade"], 1),
            tuning_seeds=tuning,
            fresh_seeds=(),
            references=tuple(map(str, given["references"])),
            alpha=float(given["alpha"]),
            margins=margins,
            duplicates=_whole("duplicates", given["duplicates"], 0),
            centres=centres,
            knobs=given["knobs"],
        ),
        arms=arms,
        metric=None if given["metric"] == "auto" else given["metric"],
    )
    return _with_fresh_seeds(ledger, given["fresh_seeds"])


def space_of(rules: Rules, recipe: str) -> Space:
    """What an arm of `recipe` may try."""
    return Space(
        centre=rules.centres.get(recipe, rules.centres["default"]),
        per_decade=rules.per_decade,
        first=rules.first,
        knobs=rules.knobs.get(recipe, {}),
    )


def _with_fresh_seeds(ledger: Ledger, given: Any) -> Ledger:
    rules = ledger.rules
    start = max([FIRST_FRESH, *(seed + 1 for seed in rules.tuning_seeds)])  # none that tuned
    if given == "auto":
        count = seeds_needed(len(ledger.comparisons()), rules.alpha)
        fresh = tuple(range(start, start + count))
    elif isinstance(given, int) and not isinstance(given, bool) and given > 0:
        fresh = tuple(range(start, start + given))
    else:
        fresh = _seeds("fresh_seeds", given)
        if both := set(fresh) & set(rules.tuning_seeds):
            raise ConfigError(
                f"study.fresh_seeds={list(fresh)}: {min(both)} is a tuning seed too; what was "
                "selected on a seed is not fresh on it"
            )
    changed = {**vars(rules), "fresh_seeds": fresh}
    ledger.rules = Rules(**changed)
    return ledger


def _seeds(key: str, given: Any) -> tuple[int, ...]:
    is_list = isinstance(given, Sequence) and not isinstance(given, str) and len(given) > 0
    if not is_list or not all(isinstance(s, int) and s >= 0 for s in given):
        word = ", a number of them or auto" if key == "fresh_seeds" else ""
        raise ConfigError(f"study.{key}={given}: must be a list of seeds{word}")
    if len(set(given)) != len(given):
        raise ConfigError(f"study.{key}={given}: names a seed twice")
    return tuple(given)


def _whole(key: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"study.{key}={value}: must be a whole number of at least {least}")
    return value


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ConfigError(f"study.{key}={value}: must be a positive number")
    return float(value)


def _one_of(key: str, value: Any, allowed: Sequence[Any]) -> None:
    if value not in allowed:
        raise ConfigError(f"study.{key}={value}: unknown{hint(str(value), map(str, allowed))}")
