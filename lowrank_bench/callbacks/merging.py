"""How long it takes to merge adapters, and to exchange one for another in merged weights."""

from collections.abc import Callable
from copy import deepcopy
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.footprint import adapted_layers
from lowrank_bench.switch import Merged, adapter_state


class Merging(NamedTuple):
    """Seconds for all layers of a model; None where it has nothing to merge or to switch."""

    merge_s: float | None = None
    switch_s: float | None = None
    all_were_merged: bool = False  # else the largest alone, and scaled by the weights' sizes


@torch.no_grad()
def merging(
    model: nn.Module, *, budget_s: float, wait: Callable[[], None] = lambda: None
) -> Merging:
    """Time it, leaving the model as it is.

    To merge is to compute the effective weight of each adapted layer that has one. If the time of
    the largest layer says that all of them take less than `budget_s`, all are measured. To switch
    is `switch.Merged.switch` on a copy of the largest layer. `wait` waits for the device.
    """
    layers = [each for each in adapted_layers(model).values() if each.mergeable]
    if not layers:
        return Merging()
    largest, total = max(layers, key=_size), sum(map(_size, layers))
    scale = total / _size(largest)
    try:
        merge_s, all_were_merged = _seconds(largest.effective_weight, wait) * scale, False
        if merge_s <= budget_s:
            merge_s = sum(_seconds(layer.effective_weight, wait) for layer in layers)
            all_were_merged = True
        switch_s = _switch(largest, wait)
    except torch.OutOfMemoryError:  # a run is not lost for want of this
        return Merging()
    return Merging(merge_s, switch_s and switch_s * scale, all_were_merged)


def _switch(layer: nn.Module, wait: Callable[[], None]) -> float | None:
    """Seconds for one layer; None where its correction is no product of two factors."""
    alone = nn.ModuleDict({"layer": deepcopy(layer)})
    try:
        state = adapter_state(alone)
        merged = Merged(alone)
    except ConfigError:
        return None
    return _seconds(lambda: merged.switch(state), wait)


def _seconds(act: Callable[[], Any], wait: Callable[[], None]) -> float:
    wait()
    began = perf_counter()
    act()
    wait()
    return perf_counter() - began


def _size(layer: Any) -> int:
    return layer.in_features * layer.out_features
