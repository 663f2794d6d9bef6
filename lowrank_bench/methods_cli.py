"""The command `lowrank-methods`."""

import argparse
import sys
from collections.abc import Sequence

from hydra.errors import HydraException
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lowrank_bench.catalogue import SLOTS, Catalogue, knobs, shown
from lowrank_bench.compose import composed
from lowrank_bench.errors import ConfigError
from lowrank_bench.mistakes import in_one_line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0, or 2 after one line about what the user can mend."""
    parser = argparse.ArgumentParser(
        prog="lowrank-methods",
        description="The methods that lowrank-bench can train, and what each is made of.",
    )
    parser.add_argument("name", nargs="?", help="show this method's config and its knobs")
    also = parser.add_mutually_exclusive_group()
    also.add_argument("--slots", action="store_true", help="what can fill each slot of a method")
    also.add_argument("--peft", action="store_true", help="the tuners of the installed PEFT")
    parser.add_argument("--config-dir", metavar="DIR", help="a folder of your own YAML files")
    given = parser.parse_args(arguments)
    if given.name and (given.slots or given.peft):
        parser.error("NAME stands alone, without --slots or --peft")
    console = Console(highlight=False)
    try:
        catalogue = Catalogue(given.config_dir)
        if given.name:
            _one(catalogue, given.name, given.config_dir, console)
        elif given.slots:
            _slots(catalogue, console)
        elif given.peft:
            _tuners(console)
        else:
            _all(catalogue, console)
    except (ConfigError, HydraException) as error:
        print(f"lowrank-methods: {in_one_line(error, [])}", file=sys.stderr)
        return 2
    return 0


def _all(catalogue: Catalogue, console: Console) -> None:
    recipes = list(catalogue.recipes())
    usual = catalogue.recipe("full").slots
    table = _table("method", "what it is; slots that differ from full; source")
    for recipe in recipes:
        below = " · ".join(filter(None, (shown(recipe.slots, usual), recipe.source)))
        table.add_row(recipe.name, _two_lines(recipe.what, below))
    console.print(table)
    _say(
        console,
        f"{len(recipes)} methods; lowrank-methods NAME shows one, lowrank-bench "
        "method=NAME trains it.",
    )


def _one(catalogue: Catalogue, name: str, folder: str | None, console: Console) -> None:
    recipe = catalogue.recipe(name)
    node = composed([f"method={name}"], folder).method
    _say(console, recipe.what)
    if recipe.source:
        _say(console, f"Source: {recipe.source}", style="dim")
    _say(console, "")
    _say(console, OmegaConf.to_yaml(node).rstrip())
    read = knobs(OmegaConf.to_container(node, resolve=False))
    _say(console, "")
    _say(console, f"Knobs: {', '.join(read)}", style="bold")


def _slots(catalogue: Catalogue, console: Console) -> None:
    table = _table("method/SLOT=", "what it is")
    for slot in SLOTS:
        table.add_section()
        table.add_row(Text(slot, style="bold"), "")
        for name in catalogue.names(slot):
            what, source = catalogue.caption(name, slot)
            table.add_row(f"  {name}", _two_lines(what, source))
    console.print(table)
    _say(console, "Any may be null but optimizer and schedule, e.g. method=lora method/init=pissa.")


def _tuners(console: Console) -> None:
    from lowrank_bench.peft_bridge.package import import_peft
    from lowrank_bench.peft_bridge.tuners import all_tuners

    import_peft()
    from peft import __version__

    table = _table("config class", "on linear layers")
    for name, reason in all_tuners():
        table.add_row(f"peft.{name}", "yes" if reason is None else Text(f"no: {reason}", "dim"))
    console.print(table)
    _say(
        console,
        f"PEFT {__version__}; train one by lowrank-bench method=peft "
        "method.adapter.config._target_=peft.LoHaConfig",
    )


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(headings[0], no_wrap=True)
    table.add_column(headings[1])
    return table


def _two_lines(first: str, second: str) -> Text:
    text = Text(first)
    if second:
        text.append(f"\n{second}", style="dim")
    return text


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
