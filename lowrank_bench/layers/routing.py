"""Which adapter of a bank each example of a batch sees.

A bank is any layer with `num_adapters` adapters that reads the ids (n) of a batch, or None, from
its attribute `ids`.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from lowrank_bench.errors import ConfigError


def banks(model: nn.Module) -> dict[str, Any]:
    """The banks of `model` by name."""
    return {name: m for name, m in model.named_modules() if hasattr(m, "num_adapters")}


def router(model: nn.Module) -> Callable[[Tensor | None], None]:
    """What hands the ids (n) of a batch to every bank of `model`; looks for them only once."""
    found = [*banks(model).values()]

    def route(ids: Tensor | None) -> None:
        for bank in found:
            bank.ids = ids

    return route


def route(model: nn.Module, ids: Tensor | None) -> None:
    """Example e of what `model` sees next is adapter ids[e]'s; None: all are adapter 0's."""
    router(model)(ids)


def check_adapters(model: nn.Module, num_ids: int | None) -> None:
    """Raise ConfigError when a bank has fewer adapters than the data ask for."""
    for name, bank in banks(model).items():
        if num_ids is not None and num_ids > bank.num_adapters:
            raise ConfigError(
                f"data.adapters={num_ids}: the bank at '{name}' holds {bank.num_adapters}; "
                f"say method.adapter.num_adapters={num_ids}"
            )
