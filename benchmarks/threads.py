"""One thread or two, for a small network, alone and with another process beside it.

The founding network on a quarter of Fashion-MNIST, a plain loop. The processes are started once and
wait for each other before each arm. 2 cores: 2 minutes.
"""

import multiprocessing
from collections.abc import Mapping
from itertools import product
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.measure import Rounds, Verdict, between, middle, ratios, table

METHODS = {"full": "full", "lowrank rank=8": "lowrank"}
THREADS = (1, 2)
PROCESSES = (1, 2)


def measure(quick: bool) -> dict[str, Any]:
    rounds, val_size = (1, 59_000) if quick else (5, 45_000)
    numbers = PROCESSES[-1:] if quick else PROCESSES
    found = {str(number): _together(number, rounds, val_size) for number in numbers}
    return {"images": 60_000 - val_size, "processes": found}


def _together(processes: int, rounds: int, val_size: int) -> Rounds:
    """Each arm in each round, in `processes` at once: the seconds of the last to end."""
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    barrier, queue = context.Barrier(processes), context.Queue()
    started = [
        context.Process(target=_train, args=(barrier, queue, rounds, val_size))
        for _ in range(processes)
    ]
    for process in started:
        process.start()
    told: list[Rounds] = [queue.get(timeout=900) for _ in started]
    for process in started:
        process.join()
    return [
        {arm: max(own[arm] for own in each) for arm in each[0]} for each in zip(*told, strict=True)
    ]


def _train(barrier: Any, queue: Any, rounds: int, val_size: int) -> None:
    import torch

    from benchmarks.overhead import by_hand, composed

    common = ("experiment=founding", "epochs=1", "rank=8", f"data.val_size={val_size}")
    configs = {name: composed(*common, f"method={method}") for name, method in METHODS.items()}
    for cfg in configs.values():
        by_hand(cfg)
    found = []
    for index in range(rounds):
        arms = list(product(METHODS, THREADS))
        seconds = {}
        for name, threads in arms if index % 2 == 0 else reversed(arms):
            torch.set_num_threads(threads)
            barrier.wait(timeout=600)
            started = perf_counter()
            by_hand(configs[name])
            seconds[_arm(name, threads)] = perf_counter() - started
        found.append({_arm(*arm): seconds[_arm(*arm)] for arm in arms})
    queue.put(found)


def _arm(name: str, threads: int) -> str:
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"


def _costs(processes: Mapping[str, Rounds], number: str, name: str) -> list[float]:
    """How many times as long two threads take."""
    return ratios(processes[number], _arm(name, 2), _arm(name, 1))


def verdicts(found: dict[str, Any]) -> list[Verdict]:
    told = []
    for name in METHODS:
        slower = median(_costs(found["processes"], "2", name))
        what = f"two processes of `{name}` on two threads each, against one thread each"
        shown = f"{slower:.2f}× the time"
        told.append(Verdict(what, "at least 1×, or one is a bad default", shown, slower >= 1))
    return told


def section(found: dict[str, Any]) -> str:
    rows = []
    for number, name in product(found["processes"], METHODS):
        rounds = found["processes"][number]
        seconds = [middle([each[_arm(name, threads)] for each in rounds]) for threads in THREADS]
        slower = _costs(found["processes"], number, name)
        rows.append((number, name, *seconds, middle(slower) + "×", between(slower)))
    head = (
        "processes",
        "method",
        "one thread, s",
        "two threads each, s",
        "ratio",
        "lowest–highest",
    )
    number = len(found["processes"]["2"])
    return f"""
A run has one thread (`run.threads=1`, which its record keeps); two cores are used by two
processes, the same command started twice on one folder. A plain loop over {found["images"]:,}
images, an epoch, {number} rounds; of two processes at once the seconds are those of the last to
end, and each does the same work.

{table(head, rows)}"""
