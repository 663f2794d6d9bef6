"""What a study is and how far it has come: `study.json` in its runs folder.

The rules are written before the first run trains. Everything after them follows from records, so
that a study that was killed anywhere goes on to the same ledger.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lowrank_bench.errors import ConfigError
from lowrank_bench.record import write_atomically

FILE = "study.json"
SCHEMA = 1
DUPLICATES = ".duplicates"  # below the runs folder; hidden, so that no report counts them as seeds

# Of the rules, those that decide what is claimed
JUDGING = ("references", "alpha", "margins", "fresh_seeds", "tuning_seeds")

Setting = dict[str, Any]  # {"lr": 0.01, "method.optimizer.ratio": 4}: overrides by key


@dataclass(frozen=True)
class Rules:
    """What was decided before anything was trained."""

    search: str  # grid or optuna
    trials: int  # settings that each arm may try
    per_decade: int  # steps of the grid of learning rates
    tuning_seeds: tuple[int, ...]
    fresh_seeds: tuple[int, ...]  # the same for all arms, so that they pair
    references: tuple[str, ...]  # methods that the others are held against
    alpha: float  # familywise error rate
    margins: dict[str, float]  # {accuracy, loss}: differences below this do not matter
    duplicates: int  # finals trained twice, for the noise floor
    first: int = 0  # trials of the first round
    centres: dict[str, float] = field(default_factory=dict)  # {method: learning rate}
    knobs: dict[str, dict[str, list[Any]]] = field(default_factory=dict)  # {method: {key: values}}


@dataclass
class Trial:
    setting: Setting
    runs: dict[int, str]  # {tuning seed: fingerprint}


@dataclass
class Arm:
    """One method at one rank."""

    name: str  # `lora r8`
    method: str  # its label: the recipe, and what of it was overridden
    rank: int | None  # null where the method has none
    overrides: list[str]  # that make it; not lr and seed, nor where and how it runs
    trials: list[Trial] = field(default_factory=list)
    selected: int | None = None  # of the trials; null where none gave a result, or not yet
    runs: dict[int, str] = field(default_factory=dict)  # {fresh seed: fingerprint}


@dataclass
class Ledger:
    name: str
    control_hash: str  # equal for all arms
    rules: Rules
    arms: list[Arm]
    metric: str | None = None  # accuracy or loss; null until the first runs have told
    duplicates: dict[str, int] = field(default_factory=dict)  # {arm: the seed trained twice}
    revisions: list[str] = field(default_factory=list)  # of the rules, once there were results

    @property
    def margin(self) -> float:
        """The equivalence margin, stated beforehand, in the metric's own unit."""
        return self.rules.margins[self.metric or "accuracy"]

    @property
    def sign(self) -> int:
        """1 where more of the metric is better, else -1."""
        return -1 if self.metric == "loss" else 1

    def arm(self, name: str) -> Arm:
        return next(arm for arm in self.arms if arm.name == name)

    def comparisons(self) -> list[tuple[str, str]]:
        """All pairs (reference, arm) that the study will test, in the arms' order.

        An arm is held against each reference method at its own rank, or without one. Two
        references are compared once. An arm without a rank is not held against a ranked one.
        """
        pairs: dict[tuple[str, str], None] = {}  # as an ordered set
        for wanted in self.rules.references:
            for reference in self.arms:
                if reference.method != wanted:
                    continue
                for arm in self.arms:
                    is_same = arm.name == reference.name
                    meets = reference.rank is None or arm.rank == reference.rank
                    if meets and not is_same and (arm.name, reference.name) not in pairs:
                        pairs[reference.name, arm.name] = None
        return [*pairs]

    def go_on_from(self, previous: "Ledger") -> None:
        """Keep in mind which rules were others when there were results already."""
        self.revisions = list(previous.revisions)
        finals = sum(len(arm.runs) for arm in previous.arms)
        changed = [
            key for key in JUDGING if getattr(previous.rules, key) != getattr(self.rules, key)
        ]
        if finals and changed:
            self.revisions.append(f"{', '.join(changed)} changed after {finals} finals")

    def write(self, folder: Path) -> None:
        content = {"schema": SCHEMA} | asdict(self)
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        path = folder / FILE
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_atomically(path, text)

    @classmethod
    def read(cls, folder: Path) -> "Ledger":
        """Read `folder/study.json`.

        Raises: FileNotFoundError without one, ConfigError when it is none.
        """
        path = folder / FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["schema"] != SCHEMA:
                raise ConfigError(f"{path}: not a study of schema {SCHEMA}")
            rules = content["rules"]
            for key in ("tuning_seeds", "fresh_seeds", "references"):
                rules[key] = tuple(rules[key])
            return cls(
                name=content["name"],
                control_hash=content["control_hash"],
                rules=Rules(**rules),
                arms=[_arm(arm) for arm in content["arms"]],
                metric=content["metric"],
                duplicates=content["duplicates"],
                revisions=content.get("revisions", []),
            )
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as e:
            raise ConfigError(f"{path}: not a study ({type(e).__name__}: {e})") from None


def _arm(content: Mapping[str, Any]) -> Arm:
    trials = [Trial(t["setting"], _by_seed(t["runs"])) for t in content["trials"]]
    return Arm(**{**content, "trials": trials, "runs": _by_seed(content["runs"])})


def _by_seed(runs: Mapping[str, str]) -> dict[int, str]:
    """JSON has no numbers as keys."""
    return {int(seed): fingerprint for seed, fingerprint in runs.items()}
