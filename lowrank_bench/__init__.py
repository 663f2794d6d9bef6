"""A benchmark of low-rank training that people can believe."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`load_method`, without torch for those who do not ask for it."""
    if name == "load_method":
        return import_module("lowrank_bench.door").load_method
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
