"""Receipts of how the layers of a model start."""

from collections.abc import Iterator, Mapping
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from lowrank_bench.receipt import Receipt, receipt


@torch.no_grad()
def each_dense_weight(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Name and weight of each linear layer, whatever it is made of, one at a time.

    It is (o, i), of a convolution (o, i k k).
    """
    inside = ""
    layer: Any
    for name, layer in model.named_modules():
        if inside and name.startswith(inside):
            continue
        if hasattr(layer, "effective_weight"):  # ours, or a bridged one
            inside = f"{name}."
            if layer.mergeable:
                yield name, layer.effective_weight().flatten(1)
        elif isinstance(layer, nn.Linear | nn.Conv2d):
            yield name, layer.weight.flatten(1)


def dense_weights(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all of them."""
    return {name: weight.detach().clone() for name, weight in each_dense_weight(model)}


@torch.no_grad()
def start_receipts(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Receipt]:
    """What can be said of a model before its first update.

    - `start_equals_base`: how far the output of a layer with a base lies from that base's, as a
      part of the largest; the largest over the layers. A failed one never gets this far.
    - `start_std_ratio`: std(W) / (1/sqrt(3i)) by layer, 1 for nn.Linear's own draw.
    - `scale`: s of the adapters.
    - `above_break_even`: layers whose rank exceeds o i / (o + i), larger than dense.
    """
    layers = dict(model.named_modules())
    ratios = {n: float(w.double().std()) * sqrt(3 * w.shape[1]) for n, w in weights.items()}
    above = []
    for name, weight in weights.items():
        layer: Any = layers[name]
        rank = getattr(layer, "inner_rank", getattr(layer, "rank", None))
        shape = (layer.as_matrix(weight) if hasattr(layer, "as_matrix") else weight).shape
        if isinstance(rank, int) and rank > weight.numel() / sum(shape):
            above.append(name)
    receipts = {
        "start_std_ratio": receipt(None, ratios, "of nn.Linear's own"),
        "above_break_even": receipt(None, above, "layers larger than dense"),
    }
    adapted: dict[str, Any] = {n: m for n, m in layers.items() if hasattr(m, "start_drift")}
    if scales := {name: m.scale for name, m in adapted.items() if hasattr(m, "scale")}:
        receipts["scale"] = receipt(None, scales, "alpha / r")
    if drifts := [m.start_drift for m in adapted.values() if m.start_drift is not None]:
        elsewhere = any(getattr(m, "starts_elsewhere", False) for m in adapted.values())
        note = "allowed to start as another function" if elsewhere else ""
        receipts["start_equals_base"] = receipt(None if elsewhere else True, max(drifts), note)
    return receipts
