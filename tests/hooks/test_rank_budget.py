from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from pruned_layers import SHAPES, UPDATES, active, adam, advance, budget, draw, model, svds, total
from torch import Tensor, nn
from torch.optim import SGD, AdamW

from lowrank_bench.inits.svd_gaussian import svd_gaussian
from lowrank_bench.layers.svd import SVDLinear
from lowrank_bench.optim.importance import SENSITIVITY, UNCERTAINTY, parts

# The budget


def test_the_budget_has_the_golden_values() -> None:
    hook = budget(100, target_rank=16, start=10, final=20)
    hook.before_step(nn.ModuleDict({"only": one(24)}), SGD([nn.Parameter(torch.ones(1))]), 99)
    golden = {0: 24, 10: 24, 11: 23, 20: 21, 45: 17, 79: 16, 80: 16, 99: 16}
    assert {update: hook.budget(update) for update in golden} == golden


def one(rank: int) -> SVDLinear:
    layer = SVDLinear(nn.Linear(30, 30), rank, 4, 0)
    svd_gaussian(layer, std=1)
    return layer


def test_masks_fall_on_their_interval_and_then_on_every_update() -> None:
    hook = budget(UPDATES)
    expected = [6, 9, 12, 15, 18, 21, *range(24, 30)]
    assert [u for u in range(UPDATES) if hook.masks_at(u)] == expected


def test_shares_of_the_run_place_the_same_phases() -> None:
    shares = budget(UPDATES, start=4 / 30, final=0.2, interval=0.1)
    assert (shares.start, shares.final_from, shares.interval) == (4, 24, 3)


def test_after_each_mask_exactly_the_budget_is_active_and_all_else_is_zero() -> None:
    layers, hook = model(), budget()
    optimizer = adam(layers)
    for update in range(UPDATES):
        advance(layers, optimizer, hook, range(update, update + 1))
        if hook.masks_at(update):
            assert total(layers) == hook.budget(update)
            for layer in svds(layers):
                assert not layer.lam[~layer.active].any()
                assert layer.lam[layer.active].all()
    assert total(layers) == 6


def test_between_two_masks_a_triplet_may_come_back() -> None:
    layers, hook = model(), budget()
    optimizer = adam(layers)
    advance(layers, optimizer, hook, range(13))
    assert sum(int((layer.lam == 0).sum()) for layer in svds(layers)) > 0
    advance(layers, optimizer, hook, range(13, 14))
    assert all(layer.lam.all() for layer in svds(layers))


def test_the_final_pattern_stays_whatever_the_gradients_do() -> None:
    layers, hook = model(), budget()
    optimizer = adam(layers)
    advance(layers, optimizer, hook, range(25))
    fixed = active(layers)
    average = optimizer.state[svds(layers)[0].P][SENSITIVITY].clone()
    advance(layers, optimizer, hook, range(25, UPDATES))
    assert active(layers) == fixed
    assert torch.equal(optimizer.state[svds(layers)[0].P][SENSITIVITY], average)


def test_a_final_phase_whose_first_update_was_jumped_over_is_fixed_at_the_next() -> None:
    layers, hook = model(), budget()
    optimizer = adam(layers)
    advance(layers, optimizer, hook, range(11))
    assert total(layers) > 6
    advance(layers, optimizer, hook, range(26, 28))
    assert total(layers) == 6


def test_equal_scores_keep_exactly_the_budget() -> None:
    def nothing(layers: nn.ModuleDict, update: int) -> None:
        for part in parts(svds(layers)):
            part.grad = torch.zeros_like(part)

    layers, hook = model(random_lam=True), budget()
    advance(layers, adam(layers), hook, range(UPDATES), nothing)
    assert active(layers) == [[True] * 4, [True, True, False, False], [False] * 4]


# The scores


def naive(history: list[dict[str, tuple[Tensor, Tensor]]], layer: str, k: int) -> float:
    """S of one triplet, element by element, from the |p g| of each update so far."""

    def score(values: list[float]) -> float:
        mean = spread = 0.0
        for value in values:
            mean = 0.85 * mean + 0.15 * value
            spread = 0.85 * spread + 0.15 * abs(value - mean)
        return mean * spread

    def mean_score(name: str, pick: Callable[[Tensor], Tensor]) -> float:
        rows = [pick((p * g).abs()).tolist() for p, g in (step[name] for step in history)]
        return sum(map(score, zip(*rows, strict=True))) / len(rows[0])  # type: ignore[arg-type]

    lam = [float((p * g).abs()[k]) for p, g in (step[f"{layer}.lam"] for step in history)]
    columns = mean_score(f"{layer}.P", lambda x: x[:, k])
    return score(lam) + columns + mean_score(f"{layer}.Q", lambda x: x[k])


def test_triplets_are_ranked_by_parameters_and_gradients_of_the_same_update() -> None:
    layers, hook = model(), budget()
    history: list[dict[str, tuple[Tensor, Tensor]]] = []

    def remembered(layers: nn.ModuleDict, update: int) -> None:
        draw(layers, update)
        history.append(
            {
                name: (p.detach().clone(), p.grad.clone())
                for name, p in layers.named_parameters()
                if p.grad is not None
            }
        )

    optimizer = adam(layers)
    for update in range(24):
        advance(layers, optimizer, hook, range(update, update + 1), remembered)
        if hook.masks_at(update):
            scores = {(n, k): naive(history, n, k) for n in SHAPES for k in range(4)}
            best = sorted(scores, key=lambda each: -scores[each])[: hook.budget(update)]
            found = {
                (name, k)
                for name, layer in zip(SHAPES, svds(layers), strict=True)
                for k in layer.active.nonzero().flatten().tolist()
            }
            assert found == set(best), update


def test_scoring_after_the_step_takes_a_new_parameter_times_an_old_gradient() -> None:
    """lam starts at zero, so by the paper its first sensitivity is zero; by the codes not."""
    for after, is_zero in ((False, True), (True, False)):
        layers, hook = model(), budget(score_after_step=after)
        optimizer = adam(layers)
        advance(layers, optimizer, hook, range(1))
        for layer in svds(layers):
            sensitivity = optimizer.state[layer.lam][SENSITIVITY]
            assert bool((sensitivity == 0).all()) is is_zero
            assert layer.lam.grad is not None
            expected = 0.15 * (layer.lam * layer.lam.grad).abs() if after else 0 * layer.lam
            torch.testing.assert_close(sensitivity, expected.detach())


def test_gradients_that_are_not_finite_are_left_out_of_the_scores() -> None:
    layers, hook = model(), budget()
    optimizer = SGD(parts(svds(layers)), lr=0.0)

    def broken(layers: nn.ModuleDict, update: int) -> None:
        draw(layers, update)
        if update == 3:
            svds(layers)[1].Q.grad = torch.full_like(svds(layers)[1].Q, float("inf"))

    advance(layers, optimizer, hook, range(3), broken)
    before = optimizer.state[svds(layers)[0].P][UNCERTAINTY].clone()
    broken(layers, 3)
    hook.before_step(layers, optimizer, 3)
    assert torch.equal(optimizer.state[svds(layers)[0].P][UNCERTAINTY], before)
    assert hook.findings["unscored"] == 1


@pytest.mark.parametrize("kind", [partial(SGD, lr=0.1), partial(AdamW, lr=0.1)])
def test_the_optimizer_finds_its_own_state_as_it_expects(kind: Any) -> None:
    layers, hook = model(), budget()
    optimizer = kind(parts(svds(layers)))
    advance(layers, optimizer, hook, range(2))
    assert {SENSITIVITY, UNCERTAINTY} <= set(optimizer.state[svds(layers)[0].lam])


def test_the_state_has_the_golden_count_of_elements() -> None:
    layers = nn.ModuleDict({"only": SVDLinear(nn.Linear(784, 512), 8, 4, 0)})
    for layer in svds(layers):
        layer.base.requires_grad_(False)
        svd_gaussian(layer, std=0.02)
    optimizer = adam(layers)
    advance(layers, optimizer, budget(), range(2))
    trainable = sum(p.numel() for p in layers.parameters() if p.requires_grad)
    elements = sum(
        value.numel()
        for state in optimizer.state.values()
        for name, value in state.items()
        if name != "step"
    )
    assert (trainable, elements) == (10_376, 41_504)
