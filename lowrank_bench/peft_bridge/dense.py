"""What a layer of PEFT computes, as a dense weight, whatever it is made of."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lowrank_bench.start import has_values


def responses(layer: nn.Module) -> Tensor:
    """What a layer makes of a fixed input (8, i), dropout off."""
    weight = next(layer.parameters())
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, int(layer.in_features), generator=generator)  # type: ignore[arg-type]
    return _evaluated(layer, x.to(weight), {})


def bridge_layer(layer: Any, base: Any) -> None:
    """Give a layer of PEFT what our own layers have.

    `roles`: each part of the layer is called what the tuner calls it. `mergeable`: whether it is
    linear in its input, so that a dense weight computes the same.
    """
    layer.train(base.training)
    layer.in_features, layer.out_features = base.in_features, base.out_features
    layer.domain = "peft"
    layer.roles = {
        name.partition(".")[0]: name.partition(".")[0]
        for name, _ in layer.named_parameters()
        if not name.startswith("base_layer.")
    }
    layer.mergeable = _is_linear(layer)
    layer.effective_weight = partial(effective_weight, layer)
    layer.merge_ = partial(merge_, layer)


def effective_weight(layer: Any) -> Tensor:
    """The dense weight (o, i) that computes the same function, bias and dropout aside.

    W = (f(I) - f(0))^T, with the bias of the base at zero. Not every tuner has a correction to
    add to the weight (OFT turns it, IA3 scales it), and every linear one has this. `f` is
    evaluated, so no gradient flows.
    Raises: TypeError for a layer that is not linear in its input.
    """
    if not layer.mergeable:
        raise TypeError(f"{type(layer).__name__} has no dense weight")
    base = layer.get_base_layer().weight
    zeros = torch.zeros(1, layer.in_features, dtype=base.dtype, device=base.device)
    unit = torch.eye(layer.in_features, dtype=base.dtype, device=base.device)
    free = _free_of_bias(layer)
    return (_evaluated(layer, unit, free) - _evaluated(layer, zeros, free)).T.contiguous()  # (o, i)


def merge_(layer: Any) -> None:
    """Put the correction into the base weight, by PEFT's own merge; the layer then trains no more.

    Raises: TypeError for a layer that cannot be merged.
    """
    if not layer.mergeable:
        raise TypeError(f"{type(layer).__name__} cannot be merged: it has no dense weight")
    layer.merge()


@torch.no_grad()
def _evaluated(layer: nn.Module, x: Tensor, replaced: dict[str, Tensor]) -> Tensor:
    training = {module: module.training for module in layer.modules()}
    try:
        layer.eval()
        return functional_call(layer, replaced, (x,))
    finally:
        for module, was in training.items():
            module.training = was


def _free_of_bias(layer: Any) -> dict[str, Tensor]:
    bias = layer.get_base_layer().bias
    return {} if bias is None else {"base_layer.bias": torch.zeros_like(bias)}


def _is_linear(layer: Any) -> bool:
    """Whether f(x + y) + f(0) = f(x) + f(y) once noise has moved the parameters.

    At its start a correction is zero, and every layer linear. Without values nothing can be
    told, and the answer is that of nearly all tuners.
    """
    if not has_values(layer):
        return True
    generator = torch.Generator().manual_seed(0)
    moved = _free_of_bias(layer)
    for name, parameter in layer.named_parameters():
        if not name.startswith("base_layer.") and parameter.requires_grad:
            noise = torch.randn(parameter.shape, generator=generator).to(parameter)
            moved[name] = parameter.detach() + noise
    x = torch.randn(2, layer.in_features, generator=generator)
    x = torch.stack((x[0], x[1], x.sum(0), 0 * x[0])).to(layer.get_base_layer().weight)
    # Row by row: Lily's router looks at all rows at once, and would be the same for all.
    one, other, both, none = (_evaluated(layer, row, moved) for row in x.split(1))
    error = (both - one - other + none).abs().max()
    rounding = torch.finfo(x.dtype).eps ** 0.5  # far above it, far below any nonlinearity
    return bool(error <= rounding * both.abs().max())
