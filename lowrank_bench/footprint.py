"""Bytes of the tensors that a model and its training keep, each storage counted once.

Counts need no values, so they hold for tensors on the meta device too.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

PROJECTORS = ("P", "Q")  # entries of a state that hold a basis rather than a moment


def live_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes that `tensors` see; the same stretch of memory counts once, and no byte twice.

    A part of a larger block, as of a mapped file, is counted by itself.
    """
    seen: dict[int, dict[tuple[int, int], int]] = {}  # by storage, the stretches
    sizes: dict[int, int] = {}
    for tensor in tensors:
        storage = tensor.untyped_storage()
        stretch = int(tensor.storage_offset()), tensor.nbytes
        seen.setdefault(storage._cdata, {})[stretch] = tensor.nbytes
        sizes[storage._cdata] = storage.nbytes()
    return sum(min(sizes[each], sum(found.values())) for each, found in seen.items())


def gradients(model: nn.Module) -> list[Tensor]:
    """Those that are alive now."""
    return [p.grad for p in model.parameters() if p.grad is not None]


def state_tensors(
    optimizers: Iterable[Optimizer], names: Iterable[str] | None = None
) -> Iterator[Tensor]:
    """Tensors of the optimizers' state; with `names`, of the entries of these names alone."""
    kept = None if names is None else set(names)
    for optimizer in optimizers:
        for state in optimizer.state.values():
            for key, value in state.items():
                if kept is None or key in kept:
                    yield from _tensors(value)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def adapted_layers(model: nn.Module) -> dict[str, Any]:
    """The layers that stand in for others, ours and PEFT's, by name."""
    return {name: layer for name, layer in model.named_modules() if hasattr(layer, "domain")}


def adapter_bytes(model: nn.Module) -> int:
    """Of what must be saved beside the base: what trains, and the buffers that adapted layers save.

    For a network without a base, or one that trains whole, it is the network. A file adds names
    and shapes, some hundred bytes a tensor.
    """
    kept = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for layer in adapted_layers(model).values():
        base = _base(layer)
        inside = set() if base is None else {id(buffer) for buffer in base.buffers()}
        saved = layer.state_dict(keep_vars=True).values()
        kept += [t for t in saved if not isinstance(t, nn.Parameter) and id(t) not in inside]
    return sum(t.nbytes for t in {id(t): t for t in kept}.values())


def merged_bytes(model: nn.Module) -> int | None:
    """Of the plain network that computes what the adapted one does, in the types it has now.

    None where a layer has no dense weight.
    """
    layers = adapted_layers(model)
    if any(not layer.mergeable for layer in layers.values()):
        return None
    inside = tuple(f"{name}." for name in layers)
    kept: dict[int, int] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not name.startswith(inside):
            kept[id(tensor)] = tensor.nbytes  # what two names share is saved once
    return sum(kept.values()) + sum(_plain_bytes(layer) for layer in layers.values())


def _plain_bytes(layer: Any) -> int:
    base = _base(layer)
    if base is not None:
        return sum(t.nbytes for t in base.state_dict().values())
    size = next(layer.parameters()).element_size()
    bias = getattr(layer, "bias", None)
    return layer.in_features * layer.out_features * size + (0 if bias is None else bias.nbytes)


def _base(layer: Any) -> Any:
    """The plain layer within, None where there is none."""
    if hasattr(layer, "get_base_layer"):  # of PEFT
        return layer.get_base_layer()
    return getattr(layer, "base", None)
