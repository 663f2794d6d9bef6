"""Weights that a run begins with: read, taken over, told apart."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.head import Head


def load_base(checkpoint: Path) -> dict[str, Tensor]:
    """The network's weights from the checkpoint of a base's run, by their names in the model."""
    state = torch.load(checkpoint, weights_only=True, map_location="cpu", mmap=True)["state_dict"]
    prefix = "model."
    return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}


def take_over(model: nn.Module, grown: nn.Module, *, head: str | None, rule: str) -> None:
    """Give `model` the weights of `grown`, but for a head that is to be fresh.

    Raises: ConfigError when a weight is missing on either side, or has another shape.
    """
    own, state = model.state_dict(), grown.state_dict()

    def is_head(name: str) -> bool:
        return head is not None and name.startswith(f"{head}.")

    if rule == "fresh":
        state = {name: tensor for name, tensor in state.items() if not is_head(name)}
    for name in [*state, *(name for name in own if rule != "fresh" or not is_head(name))]:
        there, here = (str(tuple(s[name].shape)) if name in s else "missing" for s in (state, own))
        if there != here:
            hint = "; say base.head=fresh" if is_head(name) else ""
            raise ConfigError(
                f"base.source: '{name}' is {there} in the base, {here} in the model of this run"
                f"{hint}"
            )
    model.load_state_dict(state, strict=False)


def draw_anew(module: nn.Module, seed: int) -> None:
    """Fill `module` as torch's layers draw themselves, from a seed of its own.

    Raises: ConfigError when one of its weights belongs to a layer that cannot.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer: Any
        for name, layer in module.named_modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
            elif own := [f"{name}.{each}" for each, _ in layer.named_parameters(recurse=False)]:
                raise ConfigError(
                    f"base.head=fresh: nothing tells how to draw {own[0].lstrip('.')} of the head "
                    f"({type(layer).__name__}); say base.head=kept"
                )


def base_checksum(plain: Mapping[str, Tensor], head: Head | None) -> str:
    """That of the weights that a run begins with, but for a fresh head, which no base has."""
    fresh = head if head is not None and head.trains else None
    return checksum({n: t for n, t in plain.items() if fresh is None or not fresh.holds(n)})


def checksum(state: Mapping[str, Tensor]) -> str:
    """The first 16 hex digits of the sha256 over names, shapes, types and bytes of the weights."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return digest.hexdigest()[:16]
