"""How much the loss depends on each triplet of an SVD-like correction."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lowrank_bench.layers.svd import SVDLinear

SENSITIVITY, UNCERTAINTY = "sensitivity", "uncertainty"  # in optimizer.state[p]
kernels: Any = torch  # whose stubs leave the foreach functions out
Averages = tuple[list[Tensor], list[Tensor]]


def averages(optimizer: Optimizer, parameters: Sequence[nn.Parameter]) -> Averages | None:
    """The two averages of each parameter, as the optimizer keeps them; None before the first."""
    states = [optimizer.state[parameter] for parameter in parameters]
    if not all(UNCERTAINTY in state for state in states):
        return None
    return [state[SENSITIVITY] for state in states], [state[UNCERTAINTY] for state in states]


def attach(optimizer: Optimizer, parameters: Sequence[nn.Parameter], new: Averages) -> None:
    """Hand the averages to the optimizer.

    Only after a step: an optimizer that finds state takes its own to be there as well.
    """
    for parameter, sensitivity, uncertainty in zip(parameters, *new, strict=True):
        optimizer.state[parameter][SENSITIVITY] = sensitivity
        optimizer.state[parameter][UNCERTAINTY] = uncertainty


@torch.no_grad()
def smooth(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    averages: Averages,
    *,
    beta1: float,
    beta2: float,
) -> bool:
    """Take one update into the averages, elementwise and in place.

    I = |p g|;  Ibar <- beta1 Ibar + (1 - beta1) I;  Ubar <- beta2 Ubar + (1 - beta2) |I - Ibar|,
    with the new Ibar; both begin at zero and are not corrected for that.

    Returns False, and leaves the averages, where a product is not finite: they would keep it.
    Source: Zhang 2023, eq. 8 to 10, arXiv 2303.10512.
    """
    sensitivity, uncertainty = averages
    fresh = kernels._foreach_mul(list(parameters), list(gradients))
    kernels._foreach_abs_(fresh)
    if not torch.stack(kernels._foreach_norm(fresh)).isfinite().all():
        return False
    kernels._foreach_lerp_(sensitivity, fresh, 1 - beta1)
    kernels._foreach_sub_(fresh, sensitivity)
    kernels._foreach_abs_(fresh)
    kernels._foreach_lerp_(uncertainty, fresh, 1 - beta2)
    return True


@torch.no_grad()
def triplet_scores(layers: Sequence[SVDLinear], averages: Averages) -> Tensor:
    """S of all triplets, layer after layer (sum of r): Ibar Ubar of lam_k, plus the means of
    Ibar Ubar over column k of P and over row k of Q. `averages` are those of `parts`.

    Source: Zhang 2023, eq. 7 and 11, arXiv 2303.10512.
    """
    products = kernels._foreach_mul(*averages)
    by_shape: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for i, layer in enumerate(layers):
        by_shape[layer.out_features, layer.rank, layer.in_features].append(i)
    scores: dict[int, Tensor] = {}
    for same in by_shape.values():
        P, lam, Q = (torch.stack([products[3 * i + part] for i in same]) for part in range(3))
        stacked = lam + P.mean(-2) + Q.mean(-1)  # (k, r)
        scores |= zip(same, stacked, strict=True)
    return torch.cat([scores[i] for i in range(len(layers))])


def parts(layers: Sequence[SVDLinear]) -> list[nn.Parameter]:
    """P, lam, Q of one layer after the other."""
    return [part for layer in layers for part in (layer.P, layer.lam, layer.Q)]


def keep_largest(scores: Tensor, count: int) -> Tensor:
    """A mask of exactly `count` of the scores; among equal ones the first in order is kept."""
    order = torch.argsort(scores, descending=True, stable=True)
    kept = torch.zeros_like(scores, dtype=torch.bool)
    kept[order[:count]] = True
    return kept


@torch.no_grad()
def mask(layers: Sequence[SVDLinear], kept: Tensor | None) -> None:
    """lam <- lam * active, after `active` <- `kept` (sum of r) if that is given."""
    active = [layer.active for layer in layers]
    if kept is not None:
        kernels._foreach_copy_(active, kept.split([len(each) for each in active]))
    kernels._foreach_mul_([layer.lam for layer in layers], active)
