"""Where the packaged YAML lies, in a wheel and in a checkout alike."""

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from lowrank_bench.errors import ConfigError
from lowrank_bench.names import hint


def config_dir() -> Path:
    """`<package>/configs` of a wheel, or `configs` beside the package of a checkout."""
    package = Path(__file__).resolve().parent
    places = (package / "configs", package.parent / "configs")
    return next(place for place in places if (place / "train.yaml").exists())


def check_folder(folder: Path) -> None:
    """Raise ConfigError for what Hydra would not say of a user's YAML in one line, or at all.

    A file that has the path of a packaged one (Hydra would take the packaged one without a
    word), one of a packaged group that is no YAML of keys, a recipe without a name or a parent, or
    recipes that inherit in a circle.
    """
    packaged = config_dir()
    parents: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*.yaml")):
        relative = path.relative_to(folder)
        if (packaged / relative).exists():
            raise ConfigError(
                f"--config-dir={folder}: {relative} has the path of a packaged file, which Hydra "
                "would take instead; give it another name"
            )
        if len(relative.parts) > 1 and (packaged / relative.parts[0]).is_dir():
            content = _content(path)
            if relative.parent == Path("method"):
                _check_recipe(path, content, (packaged / "method", path.parent))
                parents[path.stem] = [each for each in content["defaults"] if isinstance(each, str)]
    try:
        TopologicalSorter(parents).prepare()
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise ConfigError(f"--config-dir={folder}: recipes inherit in a circle: {circle}") from None


def _content(path: Path) -> dict[str, Any]:
    """The keys of a file. Raises: ConfigError when it is no YAML of keys."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold keys and values, as `name: {path.stem}`")
    return content


def _check_recipe(path: Path, content: dict[str, Any], places: Sequence[Path]) -> None:
    """Raise ConfigError for a recipe without a name, or one that inherits what there is not."""
    entries = content.get("defaults")
    if not isinstance(entries, list) or not entries:
        raise ConfigError(
            f"{path}: has no list of defaults; a recipe begins with the one that it inherits, "
            "`defaults: [full, _self_]`"
        )
    if "name" not in content:  # it would be reported as its parent
        raise ConfigError(f"{path}: has no name; reports list it by that, e.g. `name: {path.stem}`")
    known = {each.stem for place in places for each in place.glob("*.yaml")} - {path.stem}
    for entry in entries:
        if isinstance(entry, str) and entry != "_self_" and entry not in known:
            raise ConfigError(
                f"{path}: defaults: there is no other recipe '{entry}'{hint(entry, known)}"
            )
