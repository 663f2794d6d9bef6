from itertools import pairwise
from typing import Any

import pytest
import torch
from injected import LR, WEIGHTS, Matrices, adamw_hf, differences, theirs, wrapped
from torch import Tensor

from lowrank_bench.errors import ConfigError
from lowrank_bench.optim import projector
from lowrank_bench.optim.apollo import Apollo

T = 5
CHANNEL: dict[str, Any] = {
    "rank": 3,
    "update_gap": T,
    "scale": 4.0,
    "scale_type": "channel",
    "growth": 1.01,
}
MINI: dict[str, Any] = {
    "rank": 1,
    "update_gap": T,
    "scale": 128.0,
    "scale_type": "tensor",
    "growth": 1.01,
}


@pytest.mark.reference
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("scale_front", [False, True])
@pytest.mark.parametrize("growth", [None, 1.01])
@pytest.mark.parametrize("settings", [CHANNEL, MINI], ids=["channel", "mini"])
@pytest.mark.parametrize("basis", ["gaussian", "svd"])
def test_it_is_the_reference_step_by_step(
    settings: dict[str, Any],
    basis: str,
    growth: float | None,
    scale_front: bool,
    weight_decay: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under the reference's own random matrices."""
    ours, other = Matrices(), Matrices()
    settings = settings | {"growth": growth, "scale_front": scale_front, "basis": basis}
    optimizer = wrapped(Apollo, ours, adamw_hf(weight_decay), **settings)
    reference = theirs(
        "apollo_torch",
        "APOLLOAdamW",
        other,
        rank=settings["rank"],
        update_proj_gap=T,
        scale=settings["scale"],
        scale_type=settings["scale_type"],
        proj="random" if basis == "gaussian" else "svd",
        proj_type="std",
        weight_decay=weight_decay,
        scale_front=scale_front,
        disable_nl=growth is None,
    )
    theirs_in_order: list[Tensor] = []
    monkeypatch.setattr(projector, "_gaussian", lambda *_: theirs_in_order.pop(0))
    for update in range(2 * T + 3):
        other.inject(update)
        reference.step()
        drawn = [reference.state[getattr(other, name)]["projector"] for name in WEIGHTS]
        theirs_in_order += [
            each.ortho_matrix if name == "wide" else each.ortho_matrix.T
            for name, each in zip(WEIGHTS, drawn, strict=True)
        ]
        ours.inject(update)
        optimizer.step()
        assert max(differences(ours, other).values()) <= 1e-5


def moves(settings: dict[str, Any], updates: int) -> list[tuple[Tensor, Tensor]]:
    """What each update did to the wide weight, and its gradient."""
    model, found = Matrices(), []
    optimizer = wrapped(Apollo, model, adamw_hf(), **settings)
    for update in range(updates):
        model.inject(update)
        assert model.wide.grad is not None
        model.wide.grad[2] = 0
        before = model.wide.detach().clone()
        optimizer.step()
        found.append((model.wide.detach() - before, model.wide.grad))
    return found


def cosines(moved: Tensor, gradient: Tensor, dim: int | None) -> Tensor:
    norm = torch.linalg.vector_norm
    return (moved * gradient).sum(dim) / (norm(moved, dim=dim) * norm(gradient, dim=dim))


def test_each_channel_moves_along_its_gradient() -> None:
    for moved, G in moves(CHANNEL, T + 2):
        assert torch.allclose(cosines(moved, G, 0), -torch.ones(12), atol=1e-4)
        assert cosines(moved, G, None) > -0.999


def test_minis_whole_weight_moves_along_its_gradient() -> None:
    for moved, G in moves(MINI, T + 2):
        assert cosines(moved, G, None) < -1 + 1e-4


@pytest.mark.parametrize("settings", [CHANNEL, MINI], ids=["channel", "mini"])
def test_where_the_gradient_is_zero_nothing_moves(settings: dict[str, Any]) -> None:
    for moved, _ in moves(settings, 3):
        assert not moved[2].any()
        assert moved[3].any()


def test_an_update_grows_by_one_percent_at_most() -> None:
    model = Matrices()
    optimizer = wrapped(Apollo, model, adamw_hf(), **CHANNEL)
    norms = []
    for update in range(2 * T):
        model.inject(update)
        optimizer.step()
        norms.append(float(optimizer.state[model.wide]["last_norm"]))
    assert all(b <= 1.01 * a * (1 + 1e-6) for a, b in pairwise(norms))


def test_scale_enters_as_its_square_root() -> None:
    one, four = ({**CHANNEL, "scale": scale} for scale in (1.0, 4.0))
    assert torch.allclose(2 * moves(one, 1)[0][0], moves(four, 1)[0][0], atol=1e-5)


def test_the_first_mini_step_is_that_of_the_formula() -> None:
    ((moved, G),) = moves(MINI, 1)  # at t = 1 N is sign(R) sqrt(r n) in norm, f_t corrects
    model = Matrices()
    optimizer = wrapped(Apollo, model, adamw_hf(), **MINI)
    model.inject(0)
    assert model.wide.grad is not None
    model.wide.grad[2] = 0
    optimizer.step()
    drawn = optimizer.projector.renew(G, int(optimizer.state[model.wide]["seed"]))
    R = drawn.project(G)
    norm = torch.linalg.vector_norm
    expected = -LR * 128**0.5 * 12**0.5 / norm(R) * G
    assert torch.allclose(moved, expected, rtol=1e-2)


def test_only_the_seed_of_a_projection_is_kept() -> None:
    model = Matrices()
    optimizer = wrapped(Apollo, model, adamw_hf(), **CHANNEL)
    seeds = []
    for update in range(T + 1):
        model.inject(update)
        optimizer.step()
        state = optimizer.state[model.wide]
        assert not {"P", "Q"} & set(state)
        seeds.append(int(state["seed"]))
    assert len(set(seeds[:T])) == 1
    assert seeds[T] != seeds[0]
    assert len({int(optimizer.state[getattr(model, name)]["seed"]) for name in WEIGHTS}) == 3


def test_what_is_drawn_does_not_depend_on_the_stream_or_the_order_of_parameters() -> None:
    models = Matrices(), Matrices()
    for model, names in zip(models, (WEIGHTS, WEIGHTS[::-1]), strict=True):
        torch.manual_seed(len(names[0]))
        optimizer = wrapped(Apollo, model, adamw_hf(), **CHANNEL, names=names)
        for update in range(T + 2):
            model.inject(update)
            torch.rand(update)
            optimizer.step()
    assert max(differences(*models).values()) == 0


@pytest.mark.parametrize("side", ["reverse_std", "left", "right", "full"])
def test_a_side_whose_channels_would_be_the_wrong_ones_is_refused(side: str) -> None:
    with pytest.raises(ConfigError, match=rf"side={side}"):
        wrapped(Apollo, Matrices(), adamw_hf(), **CHANNEL, side=side)


@pytest.mark.parametrize(
    ("key", "value"), [("scale", -1.0), ("scale_type", "row"), ("growth", 0.5), ("rank", 0)]
)
def test_a_setting_that_is_none_is_named(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"method\.transform\.{key}={value}"):
        wrapped(Apollo, Matrices(), adamw_hf(), **(CHANNEL | {key: value}))
