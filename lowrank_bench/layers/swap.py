"""Put a layer in the place of another."""

from torch import nn


def swap(model: nn.Module, name: str, layer: nn.Module) -> None:
    """Replace the submodule `name` of `model` by `layer`, in place and in the same mode."""
    layer.train(model.get_submodule(name).training)
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)
