"""What a W&B sweep says on a command line, as overrides of the config.

W&B writes a parameter as `--key=value`, the value as Python prints it: `None`, `True`, `[1, 2]`,
`{'alpha': 16}`. It allows no slash in a key, so a choice of files is said with a dot:
`method.init=pissa` is `method/init=pissa`.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

from lowrank_bench.config_dir import config_dir
from lowrank_bench.errors import ConfigError

CONFIG_DIR = "--config-dir="  # an option of the command line, and no parameter
PLAIN = re.compile(r"[\w./+-]+")  # what needs no quotes on a command line
WORD = re.compile(r"(?!(null|true|false|nan|inf)$)[A-Za-z_][\w./+-]*", re.IGNORECASE)


def overrides_of(words: Sequence[str]) -> list[str]:
    """The overrides of `lowrank-bench` that the words mean.

    A word `--key=value` is W&B's; any other is an override already, and stays as it is.

    Raises: ConfigError for a `--key` without a value.
    """
    given = [word.removeprefix(CONFIG_DIR) for word in words if word.startswith(CONFIG_DIR)]
    folders = [config_dir(), *map(Path, given)]
    found: list[str] = []
    for word in words:
        if not word.startswith("--") or word.startswith(CONFIG_DIR):
            found.append(word)
            continue
        key, is_given, text = word.removeprefix("--").partition("=")
        if not is_given:
            raise ConfigError(
                f"{word}: no value; the sweep's command takes its parameters as ${{args}}"
            )
        found += _overrides(key, text, folders)
    return found


def _overrides(key: str, text: str, folders: Sequence[Path]) -> Iterator[str]:
    value = _python(text)
    for name, item in _leaves(key, value):
        group = name.replace(".", "/")
        if isinstance(item, str) and any((each / group).is_dir() for each in folders):
            yield f"{group}={item}"
        elif item is value and isinstance(value, str) and PLAIN.fullmatch(text):
            yield f"{name}={text}"  # 32-true, nan, 1e3: Hydra knows what it is
        else:
            yield f"{name}={_hydra(item)}"


def _python(text: str) -> Any:
    """The value that Python printed as `text`; a text that is no literal is itself."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float | str | list | dict) else _none_or(text)


def _none_or(text: str) -> str | None:
    return None if text == "None" else text


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Nested parameters by their dotted keys."""
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(f"{key}.{name}", item)
    else:
        yield key, value


def _hydra(value: Any) -> str:
    """A value in Hydra's own spelling."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_hydra, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_hydra(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str) and not WORD.fullmatch(value):
        return QuotedString(value, Quote.single).with_quotes()
    return str(value)
