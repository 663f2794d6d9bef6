import pytest
import torch
from injected import Matrices, adamw_hf, made, named, train, wrapped
from torch import Tensor, nn
from torch.optim import SGD, AdamW

from lowrank_bench.errors import ConfigError
from lowrank_bench.optim.galore import GaLore
from lowrank_bench.optim.moments import rotate
from lowrank_bench.optim.projector import Projection

T = 3


def trained_through_a_flip(moments: str, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What each update did to a weight whose gradient never changes, the SVD's sign does."""
    svd, calls = torch.linalg.svd, []

    def flipping(matrix: Tensor, full_matrices: bool) -> tuple[Tensor, ...]:
        calls.append(None)
        U, s, Vh = svd(matrix, full_matrices=full_matrices)
        return (U, s, Vh) if len(calls) % 2 else (-U, s, -Vh)

    monkeypatch.setattr(torch.linalg, "svd", flipping)
    model = nn.Linear(4, 4, bias=False)
    optimizer = wrapped(
        GaLore,
        model,
        adamw_hf(),
        names=["weight"],
        rank=2,
        update_gap=T,
        alpha=1.0,
        moments=moments,
    )
    G, moves = torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0])), []
    for _ in range(2 * T):
        before = model.weight.detach().clone()
        model.weight.grad = G.clone()
        optimizer.step()
        moves.append(model.weight.detach() - before)
    return moves


def test_kept_momentum_is_inverted_by_a_sign_flip(monkeypatch: pytest.MonkeyPatch) -> None:
    moves = trained_through_a_flip("keep", monkeypatch)
    assert (moves[T - 1].diagonal()[:2] < 0).all()
    assert (moves[T].diagonal()[:2] > 0).all()  # uphill: the reference's flaw


@pytest.mark.parametrize("moments", ["rotate", "reset"])
def test_others_go_on_downhill(moments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    moves = trained_through_a_flip(moments, monkeypatch)
    for move in moves:
        assert torch.allclose(move, moves[0], atol=1e-5)


def test_reset_begins_anew_with_the_count_of_steps() -> None:
    model = Matrices()
    optimizer = wrapped(GaLore, model, adamw_hf(), rank=2, update_gap=T, alpha=1.0, moments="reset")
    counts = []
    for update in range(T + 2):
        model.inject(update)
        optimizer.step()
        counts.append(int(optimizer.state[model.wide]["step"]))
    assert counts == [1, 2, 3, 1, 2]
    assert optimizer.state[model.vector]["step"] == T + 2
    assert optimizer.state[model.wide]["updates"] == T + 2


@pytest.mark.parametrize("side", ["left", "right", "full"])
def test_in_a_rotated_frame_of_the_same_space_momentum_moves_the_weight_as_before(
    side: str,
) -> None:
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator)).Q
    P = torch.linalg.qr(torch.randn(7, 3, generator=generator)).Q
    Q = torch.linalg.qr(torch.randn(9, 3, generator=generator)).Q
    old = Projection(P if side != "right" else None, Q if side != "left" else None)
    new = Projection(*(None if each is None else each @ turn for each in old))
    m = torch.randn(old.project(torch.zeros(7, 9)).shape, generator=generator)
    state = {"momentum_buffer": m.clone()}
    before, after = torch.zeros(7, 9), torch.zeros(7, 9)
    old.add_back_(before, m, 1.0)
    rotate(state, {}, old, new)
    new.add_back_(after, state["momentum_buffer"], 1.0)
    assert torch.allclose(before, after, atol=1e-6)


def test_the_second_moment_follows_ldadam() -> None:
    generator = torch.Generator().manual_seed(0)
    old, new = (
        Projection(torch.linalg.qr(torch.randn(6, 2, generator=generator)).Q, None)
        for _ in range(2)
    )
    m, v = torch.randn(2, 5, generator=generator), torch.rand(2, 5, generator=generator)
    state = {"exp_avg": m.clone(), "exp_avg_sq": v.clone(), "step": torch.tensor(4.0)}
    rotate(state, {"betas": (0.9, 0.99)}, old, new)
    assert old.P is not None
    assert new.P is not None
    C = new.P.mT @ old.P
    mean, raw = m / (1 - 0.9**4), v / (1 - 0.99**4)
    expected = (1 - 0.99**4) * ((C * C) @ (raw - mean * mean) + (C @ mean) ** 2).abs()
    assert torch.allclose(state["exp_avg"], C @ m)
    assert torch.allclose(state["exp_avg_sq"], expected)


def test_a_sign_flip_leaves_the_second_moment() -> None:
    P = torch.linalg.qr(torch.randn(6, 2, generator=torch.Generator().manual_seed(0))).Q
    v = torch.rand(2, 5) + 1
    state = {"exp_avg": torch.ones(2, 5), "exp_avg_sq": v.clone(), "step": torch.tensor(9.0)}
    rotate(state, {"betas": (0.9, 0.99)}, Projection(P, None), Projection(-P, None))
    assert torch.allclose(state["exp_avg"], -torch.ones(2, 5), atol=1e-6)
    assert torch.allclose(state["exp_avg_sq"], v, atol=1e-5)


def test_momentum_of_sgd_is_turned_too() -> None:
    model = Matrices()
    optimizer = wrapped(
        GaLore,
        model,
        lambda m: SGD(named(m), lr=0.1, momentum=0.9),
        rank=2,
        update_gap=T,
        alpha=1.0,
        moments="rotate",
    )
    for update in range(T + 1):
        model.inject(update)
        optimizer.step()
    assert optimizer.findings["refreshes"] == 6


def test_a_state_that_cannot_be_turned_is_refused_at_the_first_update() -> None:
    model = Matrices()
    optimizer = wrapped(
        GaLore,
        model,
        lambda m: AdamW(named(m), amsgrad=True),
        rank=2,
        update_gap=T,
        alpha=1.0,
        moments="rotate",
    )
    model.inject(0)
    with pytest.raises(ConfigError, match="rotate: cannot turn 'max_exp_avg_sq' of AdamW"):
        optimizer.step()


def test_a_reset_leaves_what_hooks_keep_beside_the_moments() -> None:
    model = Matrices()
    optimizer = made("reset", model, adamw_hf(), gap=T)
    train(model, optimizer, range(1))
    averages = optimizer.state[model.wide]["sensitivity"] = torch.ones_like(model.wide)
    train(model, optimizer, range(1, T + 1))
    assert optimizer.state[model.wide]["sensitivity"] is averages
    assert optimizer.state[model.wide]["step"] == 1
