"""The arms of a study, from the points of a grid that has neither learning rates nor seeds."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from lowrank_bench.errors import ConfigError
from lowrank_bench.job import Job
from lowrank_bench.protocol.arm_name import arm_name, method_label
from lowrank_bench.protocol.ledger import Arm

OWN = {"lr": "study.centres", "seed": "study.tuning_seeds and study.fresh_seeds"}
Compose = Callable[[Sequence[list[str]]], Iterable[DictConfig]]


@dataclass(frozen=True)
class Entry:
    """An arm, and the job that shows what it trains."""

    arm: Arm
    recipe: str  # by which centres and knobs are named
    job: Job

    @property
    def point(self) -> list[str]:
        """All overrides that make it, with those that say where and how it runs."""
        return list(self.job.overrides)


def entries(points: Sequence[list[str]], compose: Compose) -> list[Entry]:
    """One entry for each distinct (method, rank); a method without a rank is one arm.

    Raises: ConfigError when a point decides what the study decides, when controls differ, or when
    there are no validation data to tune on.
    """
    for word in {word for point in points for word in point}:
        _check_own(word)
    common = set(points[0]).intersection(*points)
    found: dict[str, Entry] = {}
    for cfg, point in zip(compose(points), points, strict=True):
        job = Job(cfg, point)
        identity = job.identity
        label = method_label(str(identity.name["method"]), [w for w in point if w not in common])
        arm = Arm(
            name=arm_name(label, identity.name["rank"]),
            method=label,
            rank=identity.name["rank"],
            overrides=[word for word in point if not _is_execution(word)],
        )
        entry = Entry(arm, str(cfg.method.name), job)
        found.setdefault(identity.method_hash + identity.control_hash, entry)
    chosen = [*found.values()]
    _check_control(chosen)
    _check_names(chosen)
    return chosen


def _is_execution(word: str) -> bool:
    """Whether a word says where or how runs go, and nothing of what is compared."""
    return word.lstrip("+").startswith(("run.", "logger"))


def _check_own(word: str) -> None:
    (parsed,) = OverridesParser.create().parse_overrides([word])
    if (key := parsed.key_or_group) in OWN:
        raise ConfigError(f"{word}: a study chooses its own; say it by {OWN[key]}")


def _check_names(chosen: Sequence[Entry]) -> None:
    """Two arms of one name would be one row in every table."""
    seen: dict[str, Entry] = {}
    for entry in chosen:
        if (other := seen.setdefault(entry.arm.name, entry)) is not entry:
            theirs, its = set(other.point), set(entry.point)
            raise ConfigError(
                f"{' '.join(sorted(theirs ^ its))}: makes two arms that are both called "
                f"{entry.arm.name}; sweep what belongs to the method, or run two studies"
            )


def _check_control(chosen: Sequence[Entry]) -> None:
    first = chosen[0]
    for entry in chosen:
        if entry.job.identity.control_hash != first.job.identity.control_hash:
            theirs = set(entry.point) ^ set(first.point)
            raise ConfigError(
                f"{' '.join(sorted(theirs))}: a study has one control (data, model, base, budget, "
                "precision); run one for each"
            )
    cfg = first.job.cfg
    if cfg.data.get("val_size") == 0:
        raise ConfigError("data.val_size=0: a study tunes on validation data, which must be there")
    if cfg.budget.test_every_epoch:
        raise ConfigError("budget.test_every_epoch=True: a study tests once, at the end")
