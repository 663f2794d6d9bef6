"""Matrices of each shape whose gradients are injected, and optimizers over them."""

import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from lowrank_bench.optim.adamw_hf import AdamWHF
from lowrank_bench.optim.apollo import Apollo
from lowrank_bench.optim.fira import Fira
from lowrank_bench.optim.galore import GaLore

LR = 0.02
T = 4  # updates between two refreshes, in `made`
WEIGHTS = ["tall", "wide", "square"]
Inner = Callable[[nn.Module], Any]


class Matrices(nn.Module):
    """A tall, a wide and a square matrix, and a vector."""

    tall: nn.Parameter  # (12, 7)
    wide: nn.Parameter  # (7, 12)
    square: nn.Parameter  # (8, 8)
    vector: nn.Parameter  # (5,)

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        shapes = {"tall": (12, 7), "wide": (7, 12), "square": (8, 8), "vector": (5,)}
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.randn(shape, generator=generator).to(dtype)))

    def inject(self, update: int) -> None:
        """The gradients of one update, the same ones for every instance."""
        generator = torch.Generator().manual_seed(100 + update)
        for p in self.parameters():
            p.grad = torch.randn(p.shape, generator=generator).to(p.dtype)


def named(model: nn.Module) -> list[dict[str, Any]]:
    return [{"params": list(model.named_parameters()), "role": "dense"}]


def adamw_hf(weight_decay: float = 0.0, lr: float = LR) -> Inner:
    def make(model: nn.Module) -> AdamWHF:
        return AdamWHF(named(model), lr=lr, betas=(0.9, 0.999), eps=1e-6, weight_decay=weight_decay)

    return make


def wrapped(
    cls: Any, model: nn.Module, inner: Inner, *, names: list[str] | None = None, **settings: Any
) -> Any:
    """The transform `cls` around a rule; also what a test may build by hand."""
    return cls(inner(model), model, WEIGHTS if names is None else names, 0, **settings)


def theirs(package: str, name: str, model: Matrices, **settings: Any) -> Optimizer:
    """A public optimizer; settings of the projected group are those that are no keyword of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of bitsandbytes and transformers, while they load
        cls = getattr(import_module(package), name)
    own = {
        key: settings.pop(key)
        for key in ("weight_decay", "no_deprecation_warning", "disable_nl", "scale_front")
        if key in settings
    }
    groups = [
        {"params": [model.vector]},
        {"params": [getattr(model, each) for each in WEIGHTS], **settings},
    ]
    return cls(groups, lr=LR, **own)


def differences(ours: Matrices, other: Matrices) -> dict[str, float]:
    """|W - W'| / |W'| by name."""
    pairs = zip(ours.named_parameters(), other.parameters(), strict=True)
    return {n: float((p - q).detach().norm() / q.detach().norm()) for (n, p), q in pairs}


def follow(
    ours: tuple[Matrices, Optimizer], other: tuple[Matrices, Optimizer], updates: int
) -> Iterator[dict[str, float]]:
    """After every update of both: how far apart they are."""
    for update in range(updates):
        for model, optimizer in (other, ours):
            model.inject(update)
            optimizer.step()
        yield differences(ours[0], other[0])


def elements(state: dict[str, Any]) -> int:
    """Of the state of a parameter, counters excluded."""
    return sum(v.numel() for k, v in state.items() if isinstance(v, Tensor) and k != "step")


KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "galore": (GaLore, {"alpha": 0.25}),
    "rotated": (GaLore, {"alpha": 0.25, "moments": "rotate"}),
    "reset": (GaLore, {"alpha": 0.25, "moments": "reset"}),
    "full": (GaLore, {"alpha": 0.25, "side": "full", "basis": "randomized_svd"}),
    "fira": (Fira, {"alpha": 0.25, "growth": 1.01}),
    "apollo": (Apollo, {"scale": 1.0, "scale_type": "channel", "growth": 1.01}),
}
INNER: dict[str, Inner] = {
    "adamw_hf": adamw_hf(0.1),
    "adamw": lambda m: AdamW(named(m), lr=0.02, weight_decay=0.1),
    "adam": lambda m: Adam(named(m), lr=0.02, weight_decay=0.1),
    "sgd": lambda m: SGD(named(m), lr=0.02, weight_decay=0.1, momentum=0.9),
    "rmsprop": lambda m: RMSprop(named(m), lr=0.02),
}


def made(
    kind: str, model: nn.Module, inner: Inner, rank: int = 3, gap: int = T, **more: Any
) -> Any:
    """One of KINDS around a rule."""
    cls, settings = KINDS[kind]
    return wrapped(cls, model, inner, rank=rank, update_gap=gap, **(settings | more))


def train(model: Matrices, optimizer: Optimizer, updates: range) -> None:
    for update in updates:
        model.inject(update)
        optimizer.step()
