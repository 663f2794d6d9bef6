"""Interleaved rounds, and what may be said of them."""

import os
import platform
import random
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from lowrank_bench.environment import versions

Arm = Callable[[], float | dict[str, float]]  # returns its seconds, or several by name
Rounds = list[dict[str, float]]


class Verdict(NamedTuple):
    """A target, and whether it was met."""

    what: str
    target: str
    found: str
    met: bool


def timed(work: Callable[[], Any]) -> Arm:
    def arm() -> float:
        started = perf_counter()
        work()
        return perf_counter() - started

    return arm


def on_device(work: Callable[[], Any], device: str) -> float:
    """Seconds of `work`, a GPU waited for."""
    started = perf_counter()
    work()
    if device != "cpu":
        import torch

        torch.cuda.synchronize()
    return perf_counter() - started


def interleaved(arms: Mapping[str, Arm], number: int, *, warm: bool = True) -> Rounds:
    """Seconds of each arm in each round, in which every arm runs once, in shuffled order.

    `warm`: once unmeasured before, for caches, allocators and first imports.
    """
    if warm:
        for arm in arms.values():
            arm()
    rounds = []
    for index in range(number):
        order = list(arms)
        random.Random(index).shuffle(order)
        rounds.append({name: arms[name]() for name in order})
        print(f"round {index + 1}/{number}", end="\r", file=sys.stderr)
    return [_flat({name: each[name] for name in arms}) for each in rounds]


def _flat(found: Mapping[str, float | dict[str, float]]) -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, told in found.items():
        flat |= told if isinstance(told, dict) else {name: told}
    return flat


def of(rounds: Rounds, name: str) -> list[float]:
    return [each[name] for each in rounds]


def ratios(rounds: Rounds, above: str, below: str) -> list[float]:
    """Taken within a round: what slows the machine for a while slows both."""
    return [each[above] / each[below] for each in rounds]


def between(values: Sequence[float], form: str = ".2f") -> str:
    """'0.92–1.13': the lowest and the highest."""
    return f"{min(values):{form}}–{max(values):{form}}"


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The bootstrap 95 % interval of the median over rounds."""
    if len(values) < 2:
        return values[0], values[0]
    drawn = np.random.default_rng(0).choice(np.array(values), (9999, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return float(low), float(high)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def machine() -> dict[str, Any]:
    """Where and with what; `load` is that before the part began, on a quiet machine near 0."""
    found = versions()
    kept = ("python", "lowrank_bench", "torch", "torchvision", "lightning", "hydra-core", "peft")
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "versions": {name: found[name] for name in kept},
        "load": round(os.getloadavg()[0], 2),
    }


def cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as told:
            named = (line.partition(":")[2] for line in told if line.startswith("model name"))
            return " ".join(next(named, platform.machine()).split())
    except OSError:
        return platform.processor() or platform.machine()


def middle(values: Sequence[float], form: str = ".2f") -> str:
    return f"{median(values):{form}}"
