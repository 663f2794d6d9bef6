"""The page, from what the parts have left."""

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import PARTS
from benchmarks.measure import machine, table
from lowrank_bench.record import write_atomically

Stored = dict[str, Any]  # {part, made, quick, seconds, machine, found}
BUSY = 0.7  # load of a machine that something else was using


def write(folder: Path, part: str, stored: Stored) -> None:
    """Keep what a part found, so that another can be measured anew without it."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"part": part} | stored, indent=1, ensure_ascii=False)
    write_atomically(folder / f"{part}.json", text + "\n")


def read(folder: Path) -> dict[str, Stored]:
    """What there is, in the order of the page."""
    paths = {part: folder / f"{part}.json" for part in PARTS}
    return {
        part: json.loads(path.read_text(encoding="utf-8"))
        for part, path in paths.items()
        if path.is_file()
    }


def render(kept: Mapping[str, Stored]) -> str:
    """The whole page as Markdown."""
    newest = max(kept.values(), key=lambda stored: stored["made"], default=None)
    here = newest["machine"] if newest else machine()
    modules = {part: import_module(f"benchmarks.{part}") for part in kept}
    verdicts = [
        [each.what, each.target, each.found, "yes" if each.met else "**no**"]
        for part, stored in kept.items()
        for each in modules[part].verdicts(stored["found"])
    ]
    blocks = [
        "# What the bench itself costs",
        "```console\nmake benchmarks  # a part: .venv/bin/python -m benchmarks overhead\n```",
        f"Written by that command from real runs on {_told(here)}. Arms that are compared take "
        "turns within a round, and a ratio is that of one round; the tables have medians over "
        "rounds. What was measured, round by round, is in "
        "[data/benchmarks](data/benchmarks).",
    ]
    if any(stored["quick"] for stored in kept.values()):
        blocks.append(
            "**Made with `--quick`: this shows that it works; the numbers mean nothing.**"
        )
    if verdicts:
        blocks.append(table(("what", "target", "found", "met"), verdicts))
    for part, what in PARTS.items():
        blocks.append(f"## {what[0].upper()}{what[1:]}")
        if part not in kept:
            blocks.append(f"Not measured yet: `python -m benchmarks {part}`.")
            continue
        stored = kept[part]
        blocks += [modules[part].section(stored["found"]).strip(), _made(stored, here)]
    return "\n\n".join(block.rstrip() for block in blocks) + "\n"


def _told(machine: Mapping[str, Any]) -> str:
    found = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB, "
        f"{machine['system']}; {found}"
    )


def _made(stored: Stored, here: Mapping[str, Any]) -> str:
    where, load = stored["machine"], stored["machine"]["load"]
    told = f"Made {stored['made'][:10]} in {stored['seconds']:.0f} s"
    if any(where[key] != here[key] for key in here if key != "load"):
        told += f" on {_told(where)}"
    if load > BUSY:
        told += f"; the minute before was busy (load {load:g}), if only with the part before"
    return f"*{told}.*"
