"""All weights of a model moved by a few numbers, through a fixed random projection."""

from collections.abc import Sequence
from math import sqrt
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, empty, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.adapter import Adapter
from lowrank_bench.layers.fastfood import Dense, Fastfood
from lowrank_bench.layers.rank import check_rank

PROJECTIONS = {"fastfood": Fastfood, "dense": Dense}


class SubspaceLinear(Adapter):
    """[W, b] = [W0, b0] + P z, with P random and fixed and z (d) all that trains.

    x (..., i), W0 (o, i), b0 (o), y (..., o). One z is shared by all layers that `adapt`
    replaced: it is the parameter `z` of each, and the first of them gives it its name. P (D, d)
    maps it to all D weights and biases of these layers, so that its columns have norm 1 over
    the model; a layer has the D_l rows of its own, and with them the share sqrt(D_l / D).

    P is drawn from `seed`, a buffer that an init sets. That alone is in a checkpoint; loading
    another one draws P again. `anchor` (d) is z where the base was last merged into: one layer
    can be merged without moving the others.

    Source: Li 2018, section 2, arXiv 1804.08838; for fine-tuning, Aghajanyan 2020, arXiv
    2012.13255.
    Differs: P has columns of norm 1 over all layers, as in the former; the code of the latter
    has that norm in each tensor.
    Raises: ConfigError for a dimension that is no positive integer, or an unknown projection.
    """

    domain = "subspace"
    roles: ClassVar = {"z": "subspace"}

    anchor: Tensor
    seed: Tensor

    def __init__(self, base: nn.Linear, dimension: int, projection: str) -> None:
        super().__init__(base)
        check_rank(dimension, "method.adapter.dimension")
        if projection not in PROJECTIONS:
            raise ConfigError(
                f"method.adapter.projection={projection}: must be one of {', '.join(PROJECTIONS)}"
            )
        self.size = base.weight.numel() + (0 if base.bias is None else base.bias.numel())  # D_l
        self.share = 1.0
        self.z = nn.Parameter(empty(dimension))  # (d)
        self.projection = PROJECTIONS[projection](self.size, dimension)
        self.register_buffer("anchor", torch.zeros(dimension))  # (d)
        self.register_buffer("seed", torch.zeros((), dtype=torch.int64))
        self._drawn_from: int | None = None
        self.register_load_state_dict_post_hook(_draw_what_was_loaded)

    @classmethod
    def adapt(cls, model: nn.Module, names: Sequence[str], **settings: Any) -> nn.Module:
        """Put such a layer in the place of the named ones, all with one z.

        Raises: ConfigError for a setting that the layer does not know, or lacks.
        """
        model = super().adapt(model, names, **settings)
        layers = [layer for name in names if isinstance(layer := model.get_submodule(name), cls)]
        total = sum(layer.size for layer in layers)
        for layer in layers:
            layer.z = layers[0].z
            layer.share = sqrt(layer.size / total)
        return model

    def draw(self, seed: int) -> None:
        """Make P the one of this seed."""
        self.seed.fill_(seed)
        self.projection.draw(torch.Generator().manual_seed(seed))
        self._drawn_from = seed

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, *self._moved())

    def effective_weight(self) -> Tensor:
        """The same map as a dense weight (o, i), beside `effective_bias`."""
        return self._moved()[0]

    def effective_bias(self) -> Tensor | None:
        """The bias (o) beside the effective weight."""
        return self._moved()[1]

    def _moved(self) -> tuple[Tensor, Tensor | None]:
        """W (o, i) and b (o) at the present z."""
        base = self.base
        move = self.projection((self.z - self.anchor) * self.share)  # (D_l)
        weight = base.weight + move[: base.weight.numel()].view_as(base.weight)
        return weight, None if base.bias is None else base.bias + move[base.weight.numel() :]

    @torch.no_grad()
    def merge_(self) -> None:
        """W0, b0 <- the effective weight and bias, then a correction of nothing."""
        weight, bias = self._moved()
        self.base.weight.copy_(weight)
        if bias is not None:
            self.base.bias.copy_(bias)
        self.reset_()

    @torch.no_grad()
    def reset_(self) -> None:
        self.anchor.copy_(self.z)

    def extra_repr(self) -> str:
        return f"dimension={len(self.z)}, share={self.share:.3g}"


def _draw_what_was_loaded(layer: nn.Module, _: Any) -> None:
    assert isinstance(layer, SubspaceLinear)
    seed = int(layer.seed)
    if seed != layer._drawn_from:
        layer.draw(seed)
