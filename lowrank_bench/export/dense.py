"""The trained network as a plain one: every layer by the dense weight that computes the same."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.export.plain import OURS, bare, bare_name, load_plain, save_plain, save_tensors
from lowrank_bench.export.rebuilt import Rebuilt
from lowrank_bench.layers.layer import Layer
from lowrank_bench.models.spelt import published_state

DELTA = "delta.safetensors"


@torch.no_grad()
def dense_state(run: Rebuilt, to: str) -> dict[str, Tensor]:
    """The weights of the plain network that computes what the trained one does, as published.

    Raises: ConfigError for a layer that no dense weight stands for.
    """
    layers, own = run.layers, run.model.state_dict()
    for name, layer in layers.items():
        if not layer.mergeable:
            raise ConfigError(
                f"--to {to}: {type(layer).__name__} at '{name}' computes what no one dense weight "
                "does"
            )
    state: dict[str, Tensor] = {}
    for name in run.plain:
        layer, _, part = name.rpartition(".")
        if layer not in layers:
            state[name] = own[name]
        elif part == "weight":
            state[name] = dense_weight(layers[layer])
        else:
            state[name] = dense_bias(layers[layer])
    for name, layer in layers.items():
        if f"{name}.bias" not in run.plain and dense_bias(layer).any():
            raise ConfigError(
                f"--to {to}: {type(layer).__name__} at '{name}' trained a bias, and the plain "
                "layer has none"
            )
    return published_state(run.model, state)


@torch.no_grad()
def dense_weight(layer: Any) -> Tensor:
    """The effective weight (o, i), rounded once: that of our layers is summed in double."""
    kind = next(layer.parameters()).dtype
    ours = isinstance(layer, Layer)
    wide = deepcopy(layer).double() if ours else layer
    if not ours and kind.itemsize < 4:
        wide = deepcopy(layer).float()
    return wide.effective_weight().to(kind)


@torch.no_grad()
def dense_bias(layer: Any) -> Tensor:
    """The bias (o) beside the effective weight: what the layer makes of 0."""
    if hasattr(layer, "effective_bias"):  # exact where the function is not
        bias = layer.effective_bias()
    elif hasattr(layer, "get_base_layer"):  # of PEFT, some of which scale it
        kind = layer.get_base_layer().weight
        bias = layer(torch.zeros(1, layer.in_features, dtype=kind.dtype))[0]
    else:
        bias = getattr(layer, "base", layer).bias
    return torch.zeros(layer.out_features) if bias is None else bias


def write_merged(run: Rebuilt, folder: Path) -> tuple[nn.Module, str]:
    """Write the merged network; return it as read back from there, and what to say of it."""
    model = run.published()
    model.load_state_dict(dense_state(run, "merged"))
    save_plain(model, run.cfg, folder, fingerprint=run.record.fingerprint)
    inner: Any = bare(model)
    if inner is not model:
        model.hf = type(inner).from_pretrained(folder, dtype=inner.dtype)  # type: ignore[assignment]
    elif run.cfg.model._target_.startswith(OURS):
        model = load_plain(folder)
    return model, f"a plain network, {len(run.layers)} layers merged"


def write_delta(run: Rebuilt, folder: Path) -> tuple[nn.Module, str]:
    """Write W - W0 of each tensor that changed, by its name in the plain network.

    Raises: ConfigError for a run whose layers never had the base's weights.
    """
    state, delta = dense_state(run, "dense-delta"), {}
    if run.cfg.base.name == "scratch":
        for name, layer in run.layers.items():
            if not hasattr(layer, "base") and not hasattr(layer, "get_base_layer"):
                raise ConfigError(
                    f"--to dense-delta: {type(layer).__name__} at '{name}' has no base that it "
                    "could differ from; say --to merged"
                )
    plain = published_state(run.model, run.plain)
    seen: set[int] = set()  # what two names share is told once
    for name, weight in state.items():
        if not torch.equal(weight, plain[name]) and weight.data_ptr() not in seen:
            seen.add(weight.data_ptr())
            delta[name] = weight - plain[name]
    name, model = run.record.name, run.published()
    save_tensors(
        {bare_name(run.model, each): change for each, change in delta.items()},
        folder / DELTA,
        fingerprint=run.record.fingerprint,
        base=run.record.base.get("weights_checksum", "none"),
        method=name["method"],
        rank=name["rank"],
    )
    from safetensors.torch import load_file

    own: Any = bare(model).state_dict()  # the memory of the model's own
    for each, change in load_file(folder / DELTA).items():
        own[each] += change
    return model, f"differences of {len(delta)} of {len(state)} tensors"
