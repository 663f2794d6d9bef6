"""W&B's server as seen from a command: one line for whatever keeps it from answering."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lowrank_bench.errors import ConfigError
from lowrank_bench.loggers.keys import has_key

PREFIX = "wandb:"  # of a project, where a folder could stand as well
TIMEOUT_S = 30


def project_of(spec: str) -> tuple[str, str]:
    """`entity/project`, with or without `wandb:` before it, as its two names.

    Raises: ConfigError for anything else.
    """
    parts = spec.removeprefix(PREFIX).split("/")
    if len(parts) != 2 or not all(parts):
        raise ConfigError(f"{spec}: a W&B project is written ENTITY/PROJECT")
    return parts[0], parts[1]


def require_key() -> None:
    """Raise ConfigError without a key, for which W&B would ask at a terminal."""
    if not has_key():
        raise ConfigError("W&B has no key; `wandb login` first, or set WANDB_API_KEY")


def connect() -> Any:
    """`wandb.Api`.

    Raises: ConfigError without the package or a key.
    """
    try:
        import wandb
    except ImportError:
        raise ConfigError("wandb is not installed; pip install wandb") from None
    require_key()
    wandb.setup(wandb.Settings(silent=True))
    return wandb.Api(timeout=TIMEOUT_S)


@contextmanager
def saying(what: str) -> Iterator[None]:
    """Turn what W&B raises about `what` into a ConfigError of one line.

    W&B's client raises errors of its own, ValueError for a project that is not there, and others
    where a reply is not what it expects; there is no common class below Exception.
    """
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{what}: W&B says: {said}") from error
