"""Weights that a run begins with: read, taken over, told apart."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError


def load_base(checkpoint: Path) -> dict[str, Tensor]:
    """The network's weights from the checkpoint of a base's run, by their names in the model."""
    state = torch.load(checkpoint, weights_only=True, map_location="cpu", mmap=True)["state_dict"]
    prefix = "model."
    return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}


def take_over(model: nn.Module, grown: nn.Module, *, head: str | None, rule: str) -> None:
    """Give `model` the weights of `grown`, but for a head that is to be fresh.

    Raises: ConfigError when a weight has another shape.
    """
    own, state = model.state_dict(), grown.state_dict()
    if rule == "fresh":
        state = {name: t for name, t in state.items() if not name.startswith(f"{head}.")}
    for name, tensor in state.items():
        there = own.get(name)
        if there is None or there.shape != tensor.shape:
            found = "is missing" if there is None else f"is {tuple(there.shape)}"
            hint = "; say base.head=fresh" if head and name.startswith(f"{head}.") else ""
            raise ConfigError(
                f"base.source: the base's '{name}' is {tuple(tensor.shape)}, in the model of this "
                f"run it {found}{hint}"
            )
    model.load_state_dict(state, strict=False)


def checksum(state: Mapping[str, Tensor]) -> str:
    """The first 16 hex digits of the sha256 over names, shapes, types and bytes of the weights."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return digest.hexdigest()[:16]
