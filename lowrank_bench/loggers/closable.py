"""What the run asks of each logger beyond Lightning's interface."""

from importlib import import_module
from typing import Protocol

from lowrank_bench.errors import ConfigError
from lowrank_bench.record import RunRecord


class Closable(Protocol):
    """A logger that can end its run, whatever became of it."""

    def close(self, record: RunRecord) -> None: ...


def require(package: str) -> None:
    """Check that the optional `package` of `logger=<package>` can be imported.

    Raises: ConfigError saying what to install.
    """
    try:
        import_module(package)
    except ImportError:
        raise ConfigError(
            f"logger={package}: the package is not installed; pip install lowrank-bench[{package}]"
        ) from None
