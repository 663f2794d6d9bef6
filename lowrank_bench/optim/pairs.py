"""The pairs of factors of a model, stacked by shape."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.layer import Layer

DOMAINS = ("adapter", "conv_adapter")
ROLES = {"A": "lora_A", "B": "lora_B"}


@dataclass(frozen=True)
class Pair:
    """The factors of one layer, whose correction is scale * B A; A (r, n), B (m, r).

    That of a convolution is the same, entry by entry, in another shape (layers/conv_lora.py).
    """

    name: str
    A: nn.Parameter
    B: nn.Parameter
    scale: float


class Stack:
    """Pairs of one shape, whose linear algebra is done at once."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = list(pairs)
        first = self.pairs[0].A
        scales = [pair.scale for pair in self.pairs]
        self.scale = torch.tensor(scales, dtype=wide(first), device=first.device)[:, None, None]

    @property
    def A(self) -> Tensor:  # noqa: N802  # the factor's name
        """(k, r, n)"""
        return torch.stack([pair.A for pair in self.pairs])

    @property
    def B(self) -> Tensor:  # noqa: N802
        """(k, m, r)"""
        return torch.stack([pair.B for pair in self.pairs])

    def with_gradients(self, *factors: str) -> "Stack | None":
        """The part of it whose named factors got a gradient; itself where all did."""
        live = [p for p in self.pairs if all(getattr(p, f).grad is not None for f in factors)]
        if len(live) == len(self.pairs):
            return self
        return Stack(live) if live else None

    def gradients(self, factor: str) -> Tensor:
        """(k, r, n) or (k, m, r)"""
        return torch.stack([getattr(pair, factor).grad for pair in self.pairs])

    def put(self, factor: str, gradients: Tensor) -> None:
        """Give each pair its gradient, in the dtype of the factor."""
        for pair, gradient in zip(self.pairs, gradients, strict=True):
            getattr(pair, factor).grad.copy_(gradient)


def pairs_in(model: nn.Module, names: Iterable[str], transform: str) -> list[Pair]:
    """Pairs of layers that declare both factors, and whose B is among the trainable `names`.

    Raises: ConfigError, naming `transform`, where there is none.
    """
    trainable = set(names)
    found = []
    for name, layer in model.named_modules():
        if isinstance(layer, Layer) and layer.domain in DOMAINS and _declares(layer):
            factors: Any = layer
            if f"{name}.B" in trainable:
                found.append(Pair(name, factors.A, factors.B, float(factors.scale)))
    if not found:
        raise ConfigError(
            f"method.transform={transform}: no target layer has LoRA factors of which B trains; "
            "choose method/adapter=lora and let '*.B' train"
        )
    return found


def stacks(pairs: Sequence[Pair]) -> list[Stack]:
    """The pairs by shape, dtype and device."""
    alike: dict[Any, list[Pair]] = {}
    for pair in pairs:
        key = (pair.A.shape, pair.B.shape, pair.A.dtype, pair.A.device)
        alike.setdefault(key, []).append(pair)
    return [Stack(each) for each in alike.values()]


def wide(like: Tensor) -> torch.dtype:
    """The precision for r x r matrices: they cost nothing, and a Gram matrix squares errors."""
    return torch.float32 if like.device.type == "mps" else torch.float64


def _declares(layer: Layer) -> bool:
    return ROLES.items() <= layer.roles.items() and hasattr(layer, "scale")
