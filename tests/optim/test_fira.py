from itertools import pairwise
from typing import Any, cast

import pytest
import torch
from injected import WEIGHTS, Matrices, adamw_hf, differences, follow, named, theirs, wrapped
from torch import Tensor
from torch.optim import SGD

from lowrank_bench.errors import ConfigError
from lowrank_bench.optim.fira import Fira
from lowrank_bench.optim.galore import GaLore

T = 5
SETTINGS: dict[str, Any] = {"rank": 3, "update_gap": T, "alpha": 0.25, "growth": 1.01}


def against_the_reference(alpha: float, side: str, decay: float, scaled: bool) -> list[float]:
    ours, other = Matrices(), Matrices()
    settings = SETTINGS | {"alpha": alpha, "side": side, "scaled_residual": scaled}
    reference = theirs(
        "fira",
        "FiraAdamW",
        other,
        rank=3,
        update_proj_gap=T,
        alpha=alpha,
        proj_type=side,
        weight_decay=decay,
        no_deprecation_warning=True,
    )
    pair = (ours, wrapped(Fira, ours, adamw_hf(decay), **settings))
    return [max(found.values()) for found in follow(pair, (other, reference), 2 * T + 3)]


@pytest.mark.reference
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("side", ["std", "reverse_std", "left", "right"])
@pytest.mark.parametrize("alpha", [1.0, 0.25])
def test_it_is_the_reference_step_by_step(alpha: float, side: str, weight_decay: float) -> None:
    scaled = alpha != 1
    assert max(against_the_reference(alpha, side, weight_decay, scaled)) <= 1e-5


@pytest.mark.reference
def test_without_the_flag_the_residual_is_that_of_the_paper() -> None:
    assert min(against_the_reference(0.25, "std", 0.0, scaled=False)) > 1e-4


class Watched(Fira):
    """Keeps the last update that moved `wide`."""

    rest: Tensor
    P: Tensor

    def move(self, u) -> None:
        before, low = u.p.detach().clone(), torch.zeros_like(u.p)
        u.projection.add_back_(low, u.Z.data, u.lr * self.alpha)
        super().move(u)
        if u.p.shape == (7, 12):
            self.rest, self.P = u.p.detach() - before - low, cast(Tensor, u.projection.P)


def test_the_rest_is_orthogonal_to_the_space() -> None:
    model = Matrices()
    optimizer = wrapped(Watched, model, adamw_hf(), **SETTINGS)
    for update in range(T + 2):
        model.inject(update)
        optimizer.step()
        inside = torch.linalg.vector_norm(optimizer.P.mT @ optimizer.rest)
        assert inside < 1e-5 * torch.linalg.vector_norm(optimizer.rest) + 1e-6


def test_with_the_flag_it_is_not() -> None:
    model = Matrices()
    optimizer = wrapped(Watched, model, adamw_hf(), **SETTINGS, scaled_residual=True)
    model.inject(0)
    optimizer.step()
    assert torch.linalg.vector_norm(optimizer.P.mT @ optimizer.rest) > 1e-2


def test_at_full_rank_it_is_galore() -> None:
    ours, other = Matrices(), Matrices()
    settings = {"rank": 12, "update_gap": T, "alpha": 1.0}
    fira = wrapped(Fira, ours, adamw_hf(), **settings, growth=1.01)
    galore = wrapped(GaLore, other, adamw_hf(), **settings)
    for found in follow((ours, fira), (other, galore), 2 * T + 3):
        assert max(found.values()) <= 1e-5


def test_an_update_may_have_more_than_the_rank() -> None:
    model = Matrices()
    before = model.square.detach().clone()
    optimizer = wrapped(Fira, model, adamw_hf(), **SETTINGS)
    model.inject(0)
    optimizer.step()
    assert torch.linalg.matrix_rank(model.square.detach() - before, rtol=1e-4) == 8


def test_the_rest_grows_by_one_percent_at_most() -> None:
    model = Matrices()
    optimizer = wrapped(Fira, model, adamw_hf(), **SETTINGS)
    norms = []
    for update in range(T):
        model.inject(update)
        if update == 2:
            for name in WEIGHTS:
                getattr(model, name).grad.mul_(100)
        optimizer.step()
        norms.append(float(optimizer.state[model.wide]["last_norm"]))
    assert all(b <= 1.01 * a * (1 + 1e-6) for a, b in pairwise(norms))
    assert norms[2] == pytest.approx(1.01 * norms[1])


def test_without_a_limit_nothing_is_kept() -> None:
    model = Matrices()
    optimizer = wrapped(Fira, model, adamw_hf(), **(SETTINGS | {"growth": None}))
    model.inject(0)
    optimizer.step()
    assert "last_norm" not in optimizer.state[model.wide]


def test_around_sgd_at_alpha_1_it_is_sgd() -> None:
    """N = R, so phi = 1, and what is inside and outside of the space makes up G."""
    ours, other = Matrices(), Matrices()
    settings: dict[str, Any] = SETTINGS | {"alpha": 1.0, "growth": None}
    sgd = [SGD(named(model), lr=0.1) for model in (ours, other)]
    optimizer = wrapped(Fira, ours, lambda m: sgd[0], **settings)
    for found in follow((ours, optimizer), (other, sgd[1]), T + 2):
        assert max(found.values()) <= 1e-5


def test_it_leaves_no_channels_when_both_sides_are_projected() -> None:
    with pytest.raises(ConfigError, match="side=full"):
        wrapped(Fira, Matrices(), adamw_hf(), **SETTINGS, side="full")


def test_it_learns_something_else_than_galore() -> None:
    models = Matrices(), Matrices()
    for model, cls, more in zip(models, (Fira, GaLore), ({"growth": 1.01}, {}), strict=True):
        settings: dict[str, Any] = {"rank": 3, "update_gap": T, "alpha": 1.0} | more
        optimizer = wrapped(cls, model, adamw_hf(), **settings)
        model.inject(0)
        optimizer.step()
    assert min(differences(*models)[name] for name in WEIGHTS) > 1e-3
