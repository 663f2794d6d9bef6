"""Globs over dotted names, and the nearest name to a mistyped one."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from lowrank_bench.errors import ConfigError

MAYBE = "maybe:"
MANY = 20  # names that a line has room for


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was probably meant to be, or None."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return close[0] if close else None


def hint(name: str, known: Iterable[str]) -> str:
    """ "; did you mean 'x'?" for an error line, then what there is to choose from."""
    known = sorted(known)
    close = nearest(name, known)
    meant = f"; did you mean '{close}'?" if close else ""
    if len(known) > MANY:  # the blocks of a network have the same names
        known = sorted({re.sub(r"\.\d+\.", ".*.", each) for each in known})
    return f"{meant} (there is: {', '.join(known)})" if known else meant


def match(patterns: Sequence[str], names: Iterable[str], *, key: str) -> list[str]:
    """The names that at least one glob matches, in their own order.

    Raises: ConfigError naming `key` when a glob matches nothing, so that no layer is ever
    left out in silence; only one that begins with `maybe:` may.
    """
    names = list(names)
    if isinstance(patterns, str):
        raise ConfigError(f"{key}={patterns!r}: must be a list of globs, e.g. {key}='[{patterns}]'")
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise ConfigError(f"{key}={patterns}: must be a list of globs, e.g. {key}='[*]'")
    globs = [pattern.removeprefix(MAYBE) for pattern in patterns]
    for pattern in patterns:
        if not pattern.startswith(MAYBE) and not any(fnmatchcase(n, pattern) for n in names):
            raise ConfigError(f"{key}: the glob '{pattern}' matches nothing{hint(pattern, names)}")
    return [name for name in names if any(fnmatchcase(name, glob) for glob in globs)]
