"""Seconds of `lowrank-plan`, from the command to its answer."""

from functools import partial
from statistics import median
from typing import Any

from benchmarks.commands import finish
from benchmarks.measure import Arm, Verdict, between, interleaved, middle, of, table

ONE, GRID = "one plan", "a table of 8"
TARGETS = {ONE: 5.0, GRID: 10.0}  # seconds
MOST_GIB = 2.0
LINES = {
    ONE: "model={} data=random_tokens",
    GRID: "-m model={} data=random_tokens method=full,lora,galore,apollo_mini rank=8,1024",
}


def measure(quick: bool) -> dict[str, Any]:
    model = "llama_9m" if quick else "llama_7b"
    lines = {name: line.format(model) for name, line in LINES.items()}
    arms: dict[str, Arm] = {name: partial(_once, name, line) for name, line in lines.items()}
    arms["torch"] = lambda: finish(["-c", "import torch"]).seconds
    return {"lines": lines, "rounds": interleaved(arms, 1 if quick else 5, warm=not quick)}


def _once(name: str, line: str) -> dict[str, float]:
    call = "import sys; from lowrank_bench.plan.cli import main; sys.exit(main(sys.argv[1:]))"
    ended = finish(["-c", call, *line.split()])
    return {name: ended.seconds, f"{name}: GiB": ended.peak_bytes / 2**30}


def verdicts(found: dict[str, Any]) -> list[Verdict]:
    told = []
    for name, target in TARGETS.items():
        seconds = median(of(found["rounds"], name))
        what = f"`lowrank-plan {found['lines'][name]}`"
        told.append(Verdict(what, f"under {target:g} s", f"{seconds:.1f} s", seconds < target))
    peak = max(of(found["rounds"], f"{GRID}: GiB"))
    told.append(
        Verdict(
            "memory of that table", f"under {MOST_GIB:g} GiB", f"{peak:.2f} GiB", peak < MOST_GIB
        )
    )
    return told


def section(found: dict[str, Any]) -> str:
    rounds, rows = found["rounds"], []
    for name, line in found["lines"].items():
        seconds = of(rounds, name)
        peak = f"{max(of(rounds, f'{name}: GiB')):.2f}"
        rows.append((f"`lowrank-plan {line}`", middle(seconds), between(seconds), peak))
    only = of(rounds, "torch")
    rows.append(("`import torch`, and no more", middle(only), between(only), ""))
    return f"""
From the command to its answer, {len(rounds)} rounds; GiB is the most memory that the process had.

{table(("what", "s", "lowest–highest", "GiB"), rows)}"""
