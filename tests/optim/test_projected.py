from typing import Any

import pytest
import torch
from injected import (
    INNER,
    WEIGHTS,
    Matrices,
    T,
    adamw_hf,
    differences,
    elements,
    made,
    named,
    train,
    wrapped,
)
from torch import nn
from torch.optim import Muon, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lowrank_bench.errors import ConfigError
from lowrank_bench.optim.apollo import Apollo
from lowrank_bench.optim.fira import Fira
from lowrank_bench.optim.galore import GaLore
from lowrank_bench.optim.wrapper import Wrapper

GOLDEN = {
    "std": (GaLore, {"alpha": 1.0}, 16_640),
    "reverse_std": (GaLore, {"alpha": 1.0, "side": "reverse_std"}, 14_464),
    "full": (GaLore, {"alpha": 1.0, "side": "full"}, 10_496),
    "fira": (Fira, {"alpha": 1.0, "growth": 1.01}, 16_641),
    "apollo": (Apollo, {"scale": 1.0, "scale_type": "channel", "growth": 1.01}, 12_546),
    "apollo with P": (
        Apollo,
        {"scale": 1.0, "scale_type": "channel", "growth": 1.01, "basis": "svd"},
        12_545 + 4_096,  # and no seed
    ),
}


@pytest.mark.parametrize("kind", GOLDEN)
def test_the_state_has_the_size_of_its_formula(kind: str) -> None:
    cls, settings, expected = GOLDEN[kind]
    model = nn.Linear(784, 512)
    optimizer = wrapped(cls, model, adamw_hf(), names=["weight"], rank=8, update_gap=T, **settings)
    model(torch.randn(4, 784)).square().mean().backward()
    optimizer.step()
    assert elements(optimizer.state[model.weight]) == expected
    assert elements(optimizer.state[model.bias]) == 2 * 512


def test_nothing_as_large_as_a_state_lives_outside_of_it() -> None:
    model = Matrices()
    optimizer = made("galore", model, adamw_hf())
    train(model, optimizer, range(2))
    stand_ins = [q for part in optimizer._parts if part.projected for _, _, q in part.members]
    assert len(stand_ins) == 3
    assert all(q.numel() == 0 and q.grad is None for q in stand_ins)


def test_the_state_holds_the_inner_rules_own_tensors() -> None:
    model = Matrices()
    optimizer = made("galore", model, adamw_hf())
    train(model, optimizer, range(1))
    m = optimizer.state[model.wide]["exp_avg"]
    assert m.shape == (3, 12)
    before = m.clone()
    train(model, optimizer, range(1, 2))
    assert optimizer.state[model.wide]["exp_avg"] is m
    assert not torch.equal(m, before)


@pytest.mark.parametrize("kind", ["galore", "fira", "apollo"])
@pytest.mark.parametrize("inner", INNER)
def test_any_inner_rule_moves_everything(kind: str, inner: str) -> None:
    model = Matrices()
    train(model, made(kind, model, INNER[inner]), range(T + 2))
    assert min(differences(model, Matrices()).values()) > 1e-3
    assert all(p.isfinite().all() for p in model.parameters())


def test_muon_orthogonalises_the_projected_gradient() -> None:
    model = nn.Linear(12, 7, bias=False)
    optimizer = wrapped(
        GaLore,
        model,
        lambda m: Muon(named(m), lr=0.5, weight_decay=0.1),
        names=["weight"],
        rank=3,
        update_gap=T,
        alpha=1.0,
    )
    before = model.weight.detach().clone()
    model.weight.grad = torch.randn(7, 12)
    optimizer.step()
    moved = model.weight.detach() - 0.95 * before  # decay first
    assert torch.linalg.matrix_rank(moved, rtol=1e-3) == 3
    values = torch.linalg.svdvals(moved)[:3] / 0.5
    assert (values > 0.6).all()
    assert (values < 1.3).all()


@pytest.mark.parametrize("inner", ["adamw_hf", "adamw", "adam", "sgd"])
@pytest.mark.parametrize("lr_then_decay", [(0.02, 0.1)])
def test_weights_decay_when_the_inner_rule_would(
    inner: str, lr_then_decay: tuple[float, float]
) -> None:
    """In the frame of the SVD at full rank, one diagonal step is that of the rule itself."""
    ours, other = (nn.Linear(2, 2, bias=False) for _ in range(2))
    G = torch.diag(torch.tensor([3.0, 1.0]))
    for model in (ours, other):
        with torch.no_grad():
            model.weight.copy_(torch.diag(torch.tensor([2.0, 0.5])))
    optimizer = wrapped(
        GaLore, ours, INNER[inner], names=["weight"], rank=2, update_gap=T, alpha=1.0, side="full"
    )
    rule = INNER[inner](other)
    for _ in range(3):
        for model, each in ((ours, optimizer), (other, rule)):
            model.weight.grad = G.clone()
            each.step()
        assert torch.allclose(ours.weight.diagonal(), other.weight.diagonal(), rtol=1e-5)


class Sign(Optimizer):
    """A rule of somebody's own."""

    def __init__(self, params: Any, lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.sub_(group["lr"] * p.grad.sign())


def test_a_rule_that_decays_nobody_knows_when_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"weight_decay=0\.1: .* when Sign decays"):
        made("galore", Matrices(), lambda m: Sign(named(m), 0.1, 0.1))
    model = Matrices()
    train(model, made("galore", model, lambda m: Sign(named(m), 0.1, 0.0)), range(2))


def test_a_rule_of_ones_own_may_say_when() -> None:
    class Declared(Sign):
        decay = "before"

    model = Matrices()
    train(model, made("galore", model, lambda m: Declared(named(m), 0.1, 0.1)), range(2))
    assert min(differences(model, Matrices()).values()) > 1e-3


def test_schedulers_see_the_real_parameters_and_the_projected_part_follows() -> None:
    model = Matrices()
    optimizer = made("galore", model, adamw_hf())
    schedule = LambdaLR(optimizer, lambda u: float(u == 0))
    assert [p for g in optimizer.param_groups for p in g["params"]] == list(model.parameters())
    train(model, optimizer, range(1))
    schedule.step()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model, optimizer, range(1, 2))
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_a_weight_without_a_gradient_waits_with_its_own_clock() -> None:
    model = Matrices()
    optimizer = made("galore", model, adamw_hf())
    for update in range(T + 1):
        model.inject(update)
        if update % 2:
            model.get_parameter("tall").grad = None
        optimizer.step()
    assert optimizer.state[model.tall]["updates"] == 3
    assert optimizer.findings["refreshes"] == 1 + 2 + 2
    assert optimizer.receipts(model)["projector_refreshes"]["ok"]


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.two.weight = self.one.weight


def test_what_cannot_be_projected_is_refused() -> None:
    def refused(model: nn.Module, names: list[str], line: str) -> None:
        with pytest.raises(ConfigError, match=line):
            wrapped(GaLore, model, adamw_hf(), names=names, rank=2, update_gap=T, alpha=1.0)

    refused(Shared(), ["one.weight"], r"'one\.weight' \(4, 4\) .* shared \(one\.weight, two")
    refused(Matrices(), ["vector"], "nothing to project")
    refused(Matrices(), [], "nothing to project")
    refused(Matrices(), ["deep"], "no parameter 'deep'")
    refused(nn.Conv1d(2, 2, 3), ["weight"], "it is no matrix")
    kernels = nn.Conv2d(2, 2, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    refused(kernels, ["weight"], "it is not contiguous")
    frozen = Matrices()
    inner = adamw_hf()(frozen)
    frozen.tall.requires_grad_(False)
    with pytest.raises(ConfigError, match=r"'tall' .* frozen"):
        GaLore(inner, frozen, ["tall"], 0, rank=2, update_gap=T, alpha=1.0)


def test_a_rule_that_stands_around_another_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"method\.optimizer: Wrapper"):
        made("galore", Matrices(), lambda m: Wrapper(adamw_hf()(m)))


def test_receipts_tell_of_the_projections() -> None:
    model = Matrices()
    optimizer = made("galore", model, adamw_hf(), rank=8)
    train(model, optimizer, range(T + 1))
    found = optimizer.receipts(model)
    assert found["projector_refreshes"] == {"ok": True, "value": 6, "note": "6 expected"}
    assert found["projector_orthonormality"]["ok"]
    assert found["projector_orthonormality"]["value"] < 1e-5
    assert found["projector_energy"]["value"] == pytest.approx(dict.fromkeys(WEIGHTS, 1.0))
    assert found["clipped_rank"]["value"] == {"tall": 7, "wide": 7}
    optimizer.state[model.wide]["P"].mul_(1.1)
    optimizer.findings["refreshes"] += 1
    found = optimizer.receipts(model)
    assert found["projector_refreshes"]["ok"] is False
    assert found["projector_orthonormality"]["ok"] is False


def test_energy_is_the_share_of_the_gradient_in_the_space() -> None:
    model = Matrices()
    optimizer = made("galore", model, adamw_hf())
    train(model, optimizer, range(1))
    assert model.square.grad is not None
    values = torch.linalg.svdvals(model.square.grad).square()
    share = float(values[:3].sum() / values.sum())
    assert optimizer.findings["energy"]["square"] == pytest.approx(share, rel=1e-5)


def test_a_random_projection_has_no_orthonormality_to_tell_of() -> None:
    model = Matrices()
    optimizer = made("apollo", model, adamw_hf())
    train(model, optimizer, range(T + 1))
    assert set(optimizer.receipts(model)) == {"projector_refreshes", "clipped_rank"}
