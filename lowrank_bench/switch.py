"""Adapters taken off a merged weight and put on, in place; and many on one base at once."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.adapter import Adapter
from lowrank_bench.layers.flora import FLoRABank
from lowrank_bench.layers.lora import LoRALinear
from lowrank_bench.layers.swap import swap

AdapterState = Mapping[str, Tensor]  # by layer: `name.A` (r, i), `name.B` (o, r), `name.scale` ()


@torch.no_grad()
def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """The adapters of `model` and nothing else, as copies: W = W0 + scale B A by layer.

    Of every layer whose correction is a product of two factors (LoRA and its kin, AdaLoRA's
    without what was pruned, VeRA's multiplied out). It belongs to the bases that the layers have
    now: for an init or a restart that moves them see export/corrections.py.
    Raises: ConfigError for a model without adapters, or with others.
    """
    state = {}
    for name, layer in _adapters(model).items():
        try:
            B, A, scale = layer.factors()
        except TypeError as error:
            raise ConfigError(f"'{name}': {error}, so it cannot be switched") from None
        state |= {f"{name}.A": A.detach().clone(), f"{name}.B": B.detach().clone()}
        state[f"{name}.scale"] = torch.tensor(scale, dtype=torch.float64)
    return state


@torch.no_grad()
def load_adapter(model: nn.Module, state: AdapterState) -> None:
    """Fill the LoRA layers of `model` with another adapter of the same shape, beside the weights.

    Raises: ConfigError, before anything has changed, for layers of other names, ranks or scales.
    """
    layers, found = _adapters(model), _by_layer(state)
    _check_names(layers, found)
    for name, (B, A, scale) in found.items():
        layer = layers[name]
        if not isinstance(layer, LoRALinear):
            raise ConfigError(
                f"'{name}': an adapter is loaded into LoRA, not {type(layer).__name__}"
            )
        if layer.A.shape != A.shape or layer.B.shape != B.shape or layer.scale != scale:
            raise ConfigError(
                f"'{name}': the adapter has rank {len(A)} and scale {scale:g}, the layer "
                f"{layer.rank} and {layer.scale:g}; a merged model takes any"
            )
    for name, (B, A, _) in found.items():
        layers[name].A.copy_(A)
        layers[name].B.copy_(B)


class Merged:
    """A model whose weights hold its adapter: W = W0 + s B A in plain linear layers.

    It costs what the base does. `switch` exchanges the adapter in place, by one product and
    without the base's weights: W' = W + [s' B', -s B] [A'; A]. Each exchange rounds the weights
    once, so a hundred leave an error of about ten roundings; a copy of the base is the only way to
    none. After `unmerge` this object is done with.

    Source: Hu 2021, section 4.1, arXiv 2106.09685.
    Raises: ConfigError as adapter_state.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._on = _by_layer(adapter_state(model))
        self._layers = _adapters(model)
        for name, layer in self._layers.items():
            swap(model, name, layer.base)
        self._move({}, self._on)

    def switch(self, state: AdapterState) -> Self:
        """Take the present adapter off and put another on, of any rank.

        Raises: ConfigError, before anything has changed, when it is for other layers.
        """
        to = _by_layer(state)
        _check_names(self._layers, to)
        for name, (B, A, _) in to.items():
            matrix = self._matrix(name)
            if (len(B), A.shape[1]) != matrix.shape:
                raise ConfigError(
                    f"'{name}': the adapter is for a weight of {(len(B), A.shape[1])}, here it is "
                    f"{tuple(matrix.shape)}"
                )
        self._move(self._on, to)
        self._on = to
        return self

    def unmerge(self) -> nn.Module:
        """The model as it was before: the layers where they were, with their own adapter."""
        self._move(self._on, {})
        for name, layer in self._layers.items():
            swap(self.model, name, layer)
        return self.model

    @torch.no_grad()
    def _move(self, off: Mapping[str, Any], on: Mapping[str, Any]) -> None:
        for name in self._layers:
            signed = [(1, on[name])] if name in on else []
            signed += [(-1, off[name])] if name in off else []
            matrix = self._matrix(name)
            # an adapter may lie elsewhere than the model, on the CPU as it was read
            B = torch.cat([(sign * scale * B).to(matrix) for sign, (B, _, scale) in signed], dim=1)
            A = torch.cat([A.to(matrix) for _, (_, A, _) in signed])
            matrix.addmm_(B, A)

    def _matrix(self, name: str) -> Tensor:
        """The weight (o, i) itself, as a matrix."""
        layer = self._layers[name]
        return layer.as_matrix(layer.base.weight.detach())


def bank_of(model: nn.Module, states: Sequence[AdapterState]) -> nn.Module:
    """Put the K adapters `states` on the plain `model` at once, by a bank (layers/flora.py) each.

    `route(model, ids)` of layers/routing.py then says which adapter each example of the next
    batch has, so that one forward serves examples of all. Ranks and scales may differ: what is
    of a lower rank is filled up with zeros.
    Raises: ConfigError, before anything has changed, for adapters of other layers than the first
    one's, or none.
    """
    if not states:
        raise ConfigError("a bank needs at least one adapter")
    found = [_by_layer(state) for state in states]
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear) and n in found[0]}
    for each in found:
        _check_names(layers, each)
    for name, linear in layers.items():
        rank = max(len(each[name][1]) for each in found)
        bank = FLoRABank(linear, rank, len(found), "additive", alpha=rank)  # scale 1
        bank = bank.to(linear.weight)
        with torch.no_grad():
            bank.A.zero_()
            bank.B.zero_()
            for k, each in enumerate(found):
                B, A, scale = each[name]
                bank.A[k, : len(A)], bank.B[k, :, : len(A)] = A, scale * B
        swap(model, name, bank)
    return model


def _adapters(model: nn.Module) -> dict[str, Any]:
    found: dict[str, Any] = {n: m for n, m in model.named_modules() if isinstance(m, Adapter)}
    if not found:
        raise ConfigError("the model has no adapters that could be switched")
    return found


def _by_layer(state: AdapterState) -> dict[str, tuple[Tensor, Tensor, float]]:
    """B, A and scale by the name of the layer."""
    try:
        return {
            name: (state[f"{name}.B"], state[f"{name}.A"], float(state[f"{name}.scale"]))
            for name in (key.removesuffix(".A") for key in state if key.endswith(".A"))
        }
    except KeyError as error:
        raise ConfigError(f"the adapter is not whole: it has no {error}") from None


def _check_names(layers: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    if odd := sorted(layers.keys() ^ found.keys()):
        where = "the model" if odd[0] in layers else "the adapter"
        raise ConfigError(f"the adapter is not of this model's layers: '{odd[0]}' only {where} has")
