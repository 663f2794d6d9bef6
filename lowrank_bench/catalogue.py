"""The recipes and slots that there are, read from their YAML files without composing them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lowrank_bench.config_dir import check_folder, config_dir
from lowrank_bench.errors import ConfigError
from lowrank_bench.names import hint

SLOTS = ("adapter", "init", "optimizer", "transform", "schedule", "penalty", "hooks")


@dataclass(frozen=True)
class Recipe:
    """One file `method/NAME.yaml`: what its first line says, and what fills its slots."""

    name: str
    what: str
    source: str
    slots: dict[str, str]  # those that are filled, by the name of the choice


class Catalogue:
    """The packaged recipes, and those of a user's folder where one is given.

    Raises: ConfigError when the folder does not exist or shadows a packaged file.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.roots = [config_dir() / "method"]
        if folder is not None:
            if not Path(folder).is_dir():
                raise ConfigError(f"--config-dir={folder}: there is no such folder")
            check_folder(Path(folder))
            self.roots.append(Path(folder) / "method")

    def names(self, slot: str = "") -> list[str]:
        """Recipes, or the choices of one slot."""
        return sorted(path.stem for root in self.roots for path in (root / slot).glob("*.yaml"))

    def recipes(self) -> Iterator[Recipe]:
        return map(self.recipe, self.names())

    def recipe(self, name: str) -> Recipe:
        """Raises: ConfigError with the nearest name when there is no such recipe."""
        if name not in (known := self.names()):
            raise ConfigError(f"{name}: there is no such method{hint(name, known)}")
        what, source = self.caption(name)
        chosen = self._choices(name)
        filled = {slot: chosen[slot] for slot in SLOTS if chosen.get(slot) is not None}
        return Recipe(name, what, source, {slot: str(choice) for slot, choice in filled.items()})

    def caption(self, name: str, slot: str = "") -> tuple[str, str]:
        """What the first line of a file says, and the source that it names."""
        with self._path(name, slot).open(encoding="utf-8") as file:
            line = file.readline().removeprefix("#").strip()
        what, _, source = line.partition("Source: ")
        return what.rstrip(), source.removesuffix(".")

    def _path(self, name: str, slot: str = "") -> Path:
        places = [root / slot / f"{name}.yaml" for root in self.roots]
        return next(place for place in places if place.exists())

    def _choices(self, name: str) -> dict[str, Any]:
        """Slot -> choice, by the defaults lists of the recipe and its parents."""
        content = yaml.safe_load(self._path(name).read_text(encoding="utf-8")) or {}
        found: dict[str, Any] = {}
        for entry in content.get("defaults", []):
            if isinstance(entry, str) and entry != "_self_":
                found |= self._choices(entry)
            elif isinstance(entry, dict):
                for key, choice in entry.items():
                    found[str(key).removeprefix("override ").strip()] = choice
        return found


def shown(slots: dict[str, str], usual: dict[str, str]) -> str:
    """What distinguishes a recipe, as one would type it: `adapter=lora init=zero_b`."""
    return " ".join(
        f"{slot}={choice}" for slot, choice in slots.items() if usual.get(slot) != choice
    )


def knobs(node: Any) -> list[str]:
    """The keys outside of the method that an unresolved node interpolates, e.g. rank and lr."""
    return sorted(set(_interpolated(node)))


def _interpolated(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, Sequence) and not isinstance(node, str):
        for item in node:
            yield from _interpolated(item)
    elif isinstance(node, str):
        for part in node.split("${")[1:]:
            key = part.partition("}")[0]
            if not key.startswith((".", "method.")) and ":" not in key:
                yield key
