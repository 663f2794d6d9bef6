"""The command `lowrank-plan [-m] OVERRIDES`."""

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.errors import HydraException
from rich.console import Console

from lowrank_bench.errors import ConfigError
from lowrank_bench.mistakes import in_one_line
from lowrank_bench.plan.grid import grid
from lowrank_bench.plan.sharding import STRATEGIES
from lowrank_bench.plan.states import STATES, overrides_for
from lowrank_bench.plan.units import parsed

MISTAKE, INTERRUPTED, WIDTH = 2, 130, 160


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0, or 2 after one line about what the user can mend."""
    given = parser().parse_intermixed_args(arguments)
    console = Console(highlight=False)
    if not console.is_terminal:  # a file or a pipe has no width
        console = Console(highlight=False, width=WIDTH)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # shapes need none
    if arguments is None:  # a command of its own
        gc.disable()  # a collection walks all of torch, again and again while it is loaded
    try:
        if given.check:
            from lowrank_bench.plan.check import check_runs

            return check_runs(given.overrides, console)
        _plan(given, console)
    except (ConfigError, HydraException) as error:
        print(f"lowrank-plan: {in_one_line(error, given.overrides)}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("lowrank-plan: interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="lowrank-plan",
        description="What a run of lowrank-bench would cost: memory and floating-point operations, "
        "from the same config, without data, weights or a GPU.",
        epilog="e.g. lowrank-plan -m model=llama_7b method=full,lora,galore rank=8,1024 "
        "precision=bf16-true --fits 24GiB",
    )
    made.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for lowrank-bench")
    made.add_argument("-m", "--multirun", action="store_true", help="a table over several values")
    made.add_argument("--fits", metavar="SIZE", help="the largest micro-batch in e.g. 24GiB, 80GB")
    made.add_argument("--states", metavar="|".join(STATES), help="the precision of optimizer state")
    made.add_argument(
        "--strategy", choices=STRATEGIES, default="ddp", help="how run.devices=N share the model"
    )
    made.add_argument("--layers", action="store_true", help="break-even ranks, layer by layer")
    made.add_argument(
        "--activations", action="store_true", help="by sequence length and micro-batch"
    )
    made.add_argument("--out", type=Path, metavar="DIR", help="a chart, and the numbers as files")
    made.add_argument(
        "--check", action="store_true", help="compare finished runs with their plans: --check RUNS"
    )
    made.add_argument("--config-dir", type=Path, metavar="DIR", help="your own YAML files")
    return made


def _plan(given: argparse.Namespace, console: Console) -> None:
    if given.out is not None and given.out.exists() and not given.out.is_dir():
        raise ConfigError(f"--out={given.out}: is a file; name a folder")
    room = None if given.fits is None else parsed(given.fits, "--fits")
    configs = grid(given.overrides, given.config_dir, sweep=given.multirun)
    if given.states is not None:
        more = {word for cfg in configs for word in overrides_for(given.states, cfg)}
        words = [*given.overrides, *more]
        configs = grid(words, given.config_dir, sweep=given.multirun) if more else configs
    from lowrank_bench.plan.ask import Question
    from lowrank_bench.plan.show import show
    from lowrank_bench.plan.workers import each

    question = Question(room, given.strategy, given.activations)
    answers = each(question, configs)
    show(answers, question, console, layers=given.layers)
    if given.out is not None:
        from lowrank_bench.plan.files import write

        console.print(write(answers, question, given.out))


if __name__ == "__main__":
    sys.exit(main())
