"""Keeping only the inputs of blocks, whose activations are computed again in the backward pass."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from lowrank_bench.errors import ConfigError
from lowrank_bench.names import match


def checkpoint_activations(model: nn.Module, blocks: Sequence[str] | None) -> None:
    """Checkpoint every module of `model` whose name one of the globs `blocks` matches.

    Of modules within each other the outermost alone. Names and weights stay what they are.
    Dropout draws the same twice.
    Source: Chen 2016, arXiv 1604.06174.
    Raises: ConfigError when the model names no blocks, or one of the globs hits nothing.
    """
    if not blocks:
        raise ConfigError(
            "run.checkpoint_activations=true: this model names no blocks; say which modules they "
            "are, e.g. +model.blocks='[layers.?]'"
        )
    modules: dict[str, Any] = {name: module for name, module in model.named_modules() if name}
    inside = ""
    for name in match(blocks, modules, key="model.blocks"):
        if inside and name.startswith(inside):
            continue
        inside = f"{name}."
        block = modules[name]
        block.forward = partial(_checkpointed, block, block.forward)


def _checkpointed(block: nn.Module, forward: Any, *args: Any, **kwargs: Any) -> Any:
    if not block.training:
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
