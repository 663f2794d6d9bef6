from itertools import pairwise
from typing import Any

import pytest
import torch
from injected import WEIGHTS, Matrices, adamw_hf, differences, follow, named, theirs, wrapped
from torch import nn
from torch.optim import SGD, AdamW

from lowrank_bench.errors import ConfigError
from lowrank_bench.optim.galore import GaLore
from lowrank_bench.optim.projector import SIDES

T, ALPHA = 5, 0.25
SETTINGS: dict[str, Any] = {"rank": 3, "update_gap": T, "alpha": ALPHA}


@pytest.mark.reference
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("side", SIDES)
def test_it_is_the_reference_step_by_step(side: str, weight_decay: float) -> None:
    ours, other = Matrices(), Matrices()
    optimizer = wrapped(GaLore, ours, adamw_hf(weight_decay), **SETTINGS, side=side)
    reference = theirs(
        "galore_torch",
        "GaLoreAdamW",
        other,
        rank=3,
        update_proj_gap=T,
        scale=ALPHA,
        proj_type=side,
        weight_decay=weight_decay,
        no_deprecation_warning=True,
    )
    for found in follow((ours, optimizer), (other, reference), 2 * T + 3):
        assert max(found.values()) <= 1e-5
    assert optimizer.findings["refreshes"] == 3 * len(WEIGHTS)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("side", SIDES)
def test_sgd_at_full_rank_is_plain_sgd(side: str, momentum: float) -> None:
    """With one projection throughout: momentum of another frame would be another's."""
    ours, other = Matrices(), Matrices()
    optimizer = wrapped(
        GaLore,
        ours,
        lambda m: SGD(named(m), lr=0.1, momentum=momentum),
        rank=12,
        update_gap=100 if momentum else 2,
        alpha=1.0,
        side=side,
    )
    names = {"full": ["square"], "left": ["square", "wide"], "right": ["square", "tall"]}
    names |= {"reverse_std": ["square"]}  # elsewhere the longer side is cut to the shorter
    for found in follow(
        (ours, optimizer), (other, SGD(named(other), lr=0.1, momentum=momentum)), 9
    ):
        assert max(found[name] for name in names.get(side, WEIGHTS)) <= 1e-5
        assert found["vector"] == 0


def test_adam_at_full_rank_is_not_adam() -> None:
    ours, other = Matrices(), Matrices()
    optimizer = wrapped(GaLore, ours, adamw_hf(), rank=12, update_gap=T, alpha=1.0)
    (found,) = follow((ours, optimizer), (other, adamw_hf()(other)), 1)
    assert min(found[name] for name in WEIGHTS) > 1e-3


@pytest.mark.parametrize("inner", [adamw_hf(0.1), lambda m: AdamW(named(m), weight_decay=0.1)])
def test_what_is_not_projected_takes_the_inner_rule_bit_for_bit(inner) -> None:
    ours, other = Matrices(), Matrices()
    optimizer = wrapped(GaLore, ours, inner, **SETTINGS, names=["tall"])
    for found in follow((ours, optimizer), (other, inner(other)), 5):
        assert found["wide"] == found["square"] == found["vector"] == 0
        assert found["tall"] > 0


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_golden_step(sign: float, monkeypatch: pytest.MonkeyPatch) -> None:
    svd = torch.linalg.svd

    def flipped(matrix: torch.Tensor, full_matrices: bool) -> tuple[torch.Tensor, ...]:
        U, s, Vh = svd(matrix, full_matrices=full_matrices)
        return sign * U, s, sign * Vh

    monkeypatch.setattr(torch.linalg, "svd", flipped)
    model = nn.Linear(2, 2, bias=False)
    nn.init.zeros_(model.weight)
    model.weight.grad = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    wrapped(
        GaLore, model, adamw_hf(lr=1.0), names=["weight"], rank=1, update_gap=T, alpha=ALPHA
    ).step()
    assert torch.allclose(model.weight, torch.tensor([[-0.25, 0.0], [0.0, 0.0]]), atol=1e-4)


@pytest.mark.parametrize("side", SIDES)
def test_no_update_has_more_than_the_rank(side: str) -> None:
    model = Matrices()
    optimizer = wrapped(GaLore, model, adamw_hf(), **SETTINGS, side=side)
    for update in range(T + 2):
        before = {name: getattr(model, name).detach().clone() for name in WEIGHTS}
        model.inject(update)
        optimizer.step()
        for name in WEIGHTS:
            moved = getattr(model, name).detach() - before[name]
            assert torch.linalg.matrix_rank(moved, rtol=1e-4) <= 3


def test_the_projection_stays_between_two_refreshes() -> None:
    model = Matrices()
    optimizer = wrapped(GaLore, model, adamw_hf(), **SETTINGS)
    seen = []
    for update in range(2 * T + 1):
        model.inject(update)
        optimizer.step()
        seen.append(optimizer.state[model.wide]["P"])
    same = [torch.equal(a, b) for a, b in pairwise(seen)]
    assert same == ([True] * (T - 1) + [False]) * 2


def test_alpha_scales_the_projected_weights_alone() -> None:
    steps = []
    for alpha in (0.25, 1.0):
        model = Matrices()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizer = wrapped(GaLore, model, adamw_hf(), rank=3, update_gap=T, alpha=alpha)
        model.inject(0)
        optimizer.step()
        steps.append({n: p.detach() - before[n] for n, p in model.named_parameters()})
    small, large = steps
    assert torch.equal(small["vector"], large["vector"])
    for name in WEIGHTS:
        assert torch.allclose(4 * small[name], large[name], atol=1e-5)


@pytest.mark.parametrize("basis", ["randomized_svd", "gaussian"])
def test_other_bases_learn_the_same_twice(basis: str) -> None:
    models = Matrices(), Matrices()
    for model in models:
        optimizer = wrapped(GaLore, model, adamw_hf(), **SETTINGS, basis=basis)
        for update in range(2 * T + 1):
            torch.manual_seed(id(model) % 1000)  # must not matter
            model.inject(update)
            optimizer.step()
    assert max(differences(*models).values()) == 0
    assert differences(models[0], Matrices())["wide"] > 0


@pytest.mark.parametrize(
    ("key", "value"),
    [("alpha", 0), ("alpha", "half"), ("moments", "forget"), ("rank", -1), ("side", "top")],
)
def test_a_setting_that_is_none_is_named(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"method\.transform\.{key}={value}"):
        wrapped(GaLore, Matrices(), adamw_hf(), **(SETTINGS | {key: value}))


def test_moments_in_a_gaussian_basis_cannot_be_turned() -> None:
    with pytest.raises(ConfigError, match=r"moments=rotate.*gaussian"):
        wrapped(GaLore, Matrices(), adamw_hf(), **SETTINGS, basis="gaussian", moments="rotate")
