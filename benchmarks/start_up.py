"""Seconds from the command to the first step, and what one more short run of a sweep adds.

Digits, an epoch of 20 updates. 2 cores: 5 minutes.
"""

import json
import tempfile
from itertools import count
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

from benchmarks.commands import bench, end, finish, start
from benchmarks.measure import Arm, Rounds, Verdict, between, interleaved, middle, of, table

SHORT = ("data=digits", "epochs=1")
TARGET_FIRST, TARGET_MORE = 2.5, 0.5  # seconds
HOOK = "+method.hooks={{first: {{_target_: benchmarks.first_step.FirstStep, path: '{}'}}}}"
LIGHTNING, FIRST, WHOLE = "import lightning", "to the first step", "the whole command"


def measure(quick: bool) -> dict[str, Any]:
    few, many = (1, 2) if quick else (4, 12)
    numbers = count()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        arms: dict[str, Arm] = {
            LIGHTNING: lambda: finish(["-c", "import lightning"]).seconds,
            FIRST: lambda: _first_step(root / str(next(numbers))),
            "few": lambda: _sweep("few", few, root / str(next(numbers))),
            "many": lambda: _sweep("many", many, root / str(next(numbers))),
        }
        rounds = interleaved(arms, 1 if quick else 5, warm=not quick)
    return {"few": few, "many": many, "rounds": rounds}


def _first_step(folder: Path) -> dict[str, float]:
    folder.mkdir()
    clock = folder / "first_step"
    started = monotonic()
    end(start(bench(*SHORT, f"run.dir={folder}/runs", HOOK.format(clock))))
    ended = monotonic()
    return {FIRST: float(clock.read_text()) - started, WHOLE: ended - started}


def _sweep(name: str, runs: int, folder: Path) -> dict[str, float]:
    """A sweep over seeds, and again when all its runs are finished."""
    line = bench("-m", *SHORT, f"seed=range({runs})", f"run.dir={folder}")
    seconds, again = finish(line).seconds, finish(line).seconds
    records = [json.loads(path.read_text()) for path in folder.glob("*/record.json")]
    assert len(records) == runs
    training = sum(record["cost"]["train_seconds"] for record in records)
    return {name: seconds, f"{name}: training": training, f"{name}: again": again}


def _first(rounds: Rounds) -> list[float]:
    """To the first step, beyond importing Lightning."""
    return [each[FIRST] - each[LIGHTNING] for each in rounds]


def _more(found: dict[str, Any], after: str = "") -> list[float]:
    """Seconds that one more run adds, beside its training; or one more that is finished."""
    more = found["many"] - found["few"]
    return [
        (each[f"many{after}"] - each[f"few{after}"] - (0 if after else _training(each))) / more
        for each in found["rounds"]
    ]


def _training(each: dict[str, float]) -> float:
    return each["many: training"] - each["few: training"]


def verdicts(found: dict[str, Any]) -> list[Verdict]:
    first, more = median(_first(found["rounds"])), median(_more(found))
    return [
        Verdict(
            "from the command to the first step of a digits run, beyond importing Lightning",
            f"under {TARGET_FIRST:g} s",
            f"{first:.2f} s",
            first < TARGET_FIRST,
        ),
        Verdict(
            "one more short run in a sweep, beside its training",
            f"at most {TARGET_MORE:g} s",
            f"{more:.2f} s",
            more <= TARGET_MORE,
        ),
    ]


def section(found: dict[str, Any]) -> str:
    rounds, few, many = found["rounds"], found["few"], found["many"]
    rows = [
        ("`import lightning`, and no more", of(rounds, LIGHTNING)),
        ("from the command to the gradients of the first update", of(rounds, FIRST)),
        ("of these beyond importing Lightning", _first(rounds)),
        ("the whole command, with its record written", of(rounds, WHOLE)),
        (f"a sweep of {few} runs", of(rounds, "few")),
        (f"a sweep of {many} runs", of(rounds, "many")),
        ("one more run, beside its training", _more(found)),
        (f"the sweep of {many} again, all finished", of(rounds, "many: again")),
        ("one more run that is finished", _more(found, ": again")),
    ]
    shown = [(what, middle(seconds), between(seconds)) for what, seconds in rows]
    return f"""
`lowrank-bench data=digits epochs=1 logger=local`: 20 updates, W&B off. The sweeps go over seeds.
{len(rounds)} rounds.

{table(("what", "s", "lowest–highest"), shown)}
Beyond importing Lightning can be less than nothing: the command imports it without Python's
collector, and so in less time than `import lightning` by itself.

Most of a start is Lightning's import, and most of that is torchmetrics, which it needs: where
they are installed, torchmetrics loads transformers, torchvision with torch's compiler, and
scipy.signal.

What made the difference:

- A sweep imports once. Its runs are forked from a parent that has everything loaded and has
  computed nothing, so that each starts in milliseconds and leaves nothing behind.
- Nothing is collected while that is loaded: Python's collector would walk all of it, for 0.3 s.
- A point of the grid is composed once, to be checked and to be trained; Hydra's own launcher
  composes it again, for 0.1 s. Points that choose the same files share the reading of them.
- Where all is finished nothing heavy is imported at all.

What is left of one more run: 0.15 s for importing polars, which writes `curves.parquet` and must
not be imported before a fork, since it starts threads, and the rest in building, evaluating and
saving the model.
"""
