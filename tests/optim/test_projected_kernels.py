"""A kernel (o, i, h, w) is projected as the matrix (o, i h w), and moves as that would."""

from typing import Any

import pytest
import torch
from injected import adamw_hf
from torch import nn

from lowrank_bench.optim.apollo import Apollo
from lowrank_bench.optim.fira import Fira
from lowrank_bench.optim.galore import GaLore

SHAPES = {"wide": (4, 3, 3, 3), "tall": (24, 3, 2, 2)}
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "galore": (GaLore, {"alpha": 0.5}),
    "galore_rotate": (GaLore, {"alpha": 0.5, "moments": "rotate"}),
    "fira": (Fira, {"alpha": 0.5, "growth": 1.01}),
    "apollo": (Apollo, {"scale": 1.0, "scale_type": "channel", "growth": 1.01}),
    "apollo_mini": (Apollo, {"scale": 128.0, "scale_type": "tensor", "growth": None}),
}


class Weights(nn.Module):
    """The same numbers, as kernels or as matrices."""

    def __init__(self, *, flat: bool) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for name, shape in SHAPES.items():
            drawn = torch.randn(shape, generator=generator)
            setattr(self, name, nn.Parameter(drawn.flatten(1) if flat else drawn))

    def inject(self, update: int) -> None:
        generator = torch.Generator().manual_seed(100 + update)
        for p in self.parameters():
            p.grad = torch.randn(p.numel(), generator=generator).view(p.shape)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_a_kernel_moves_as_its_matrix_does(kind: str, weight_decay: float) -> None:
    cls, settings = KINDS[kind]
    trained = []
    for flat in (False, True):
        model = Weights(flat=flat)
        inner = adamw_hf(weight_decay)(model)
        optimizer = cls(inner, model, list(SHAPES), 0, rank=2, update_gap=3, **settings)
        for update in range(7):
            model.inject(update)
            optimizer.step()
        trained.append((model, optimizer))
    (kernels, ours), (matrices, theirs) = trained
    began = Weights(flat=False)
    for name, shape in SHAPES.items():
        kernel = getattr(kernels, name)
        assert kernel.shape == shape
        assert not torch.equal(kernel, getattr(began, name))
        assert torch.equal(kernel.flatten(1), getattr(matrices, name))
    assert ours.receipts(kernels) == theirs.receipts(matrices)


def test_sgd_decays_a_kernel_by_its_gradient_as_a_matrix() -> None:
    trained = []
    for flat in (False, True):
        model = Weights(flat=flat)
        inner = torch.optim.SGD(model.named_parameters(), lr=0.1, weight_decay=0.1)
        optimizer = GaLore(inner, model, list(SHAPES), 0, rank=2, update_gap=3, alpha=1.0)
        for update in range(4):
            model.inject(update)
            optimizer.step()
        trained.append(model)
    for name in SHAPES:
        assert torch.equal(getattr(trained[0], name).flatten(1), getattr(trained[1], name))
