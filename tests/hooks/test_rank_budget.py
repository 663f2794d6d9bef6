from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from lowrank_bench.errors import ConfigError
from lowrank_bench.hooks.rank_budget import RankBudget
from lowrank_bench.inits.svd_gaussian import svd_gaussian
from lowrank_bench.layers.svd import SVDLinear
from lowrank_bench.optim.importance import SENSITIVITY, UNCERTAINTY, parts

SHAPES = {"tall": (6, 10), "wide": (10, 6), "square": (7, 7)}
SETTINGS: dict[str, Any] = {
    "target_rank": 2,
    "start": 4,
    "final": 6,
    "interval": 3,
    "beta1": 0.85,
    "beta2": 0.85,
    "score_after_step": False,
}
UPDATES = 30


def budget(num_updates: int = UPDATES, **settings: Any) -> RankBudget:
    hook = RankBudget(**(SETTINGS | settings))
    hook.plan(num_updates, seed=0)
    return hook


def model(rank: int = 4, *, random_lam: bool = False) -> nn.ModuleDict:
    torch.manual_seed(0)
    layers = nn.ModuleDict(
        {name: SVDLinear(nn.Linear(i, o), rank, 4, 0) for name, (i, o) in SHAPES.items()}
    )
    for layer in svds(layers):
        layer.base.requires_grad_(False)
        svd_gaussian(layer, std=0.5)
        if random_lam:
            nn.init.normal_(layer.lam)
    return layers


def svds(layers: nn.ModuleDict) -> list[SVDLinear]:
    return [layer for layer in layers.values() if isinstance(layer, SVDLinear)]


def draw(layers: nn.ModuleDict, update: int) -> None:
    generator = torch.Generator().manual_seed(update)
    for part in parts(svds(layers)):
        part.grad = torch.randn(part.shape, generator=generator)


def advance(
    layers: nn.ModuleDict,
    optimizer: Optimizer,
    hook: RankBudget,
    updates: range,
    grads: Callable[[nn.ModuleDict, int], None] = draw,
) -> None:
    for update in updates:
        grads(layers, update)
        hook.before_step(layers, optimizer, update)
        optimizer.step()
        hook.after_step(layers, optimizer, update)


def adam(layers: nn.ModuleDict, **options: Any) -> AdamW:
    return AdamW(parts(svds(layers)), lr=0.05, **options)


def active(layers: nn.ModuleDict) -> list[list[bool]]:
    return [layer.active.tolist() for layer in svds(layers)]


def total(layers: nn.ModuleDict) -> int:
    return sum(layer.active_rank for layer in svds(layers))


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


# Resuming


@pytest.mark.parametrize("stop", [1, 5, 6, 7, 23, 24, 25, 28])
def test_a_resumed_run_equals_an_uninterrupted_one(stop: int) -> None:
    whole, resumed = model(), model()
    advance(whole, adam(whole), budget(), range(UPDATES))
    first = adam(resumed)
    advance(resumed, first, budget(), range(stop))
    loaded = model()
    loaded.load_state_dict(resumed.state_dict())
    second = adam(loaded)
    second.load_state_dict(first.state_dict())
    advance(loaded, second, budget(), range(stop, UPDATES))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name


def test_a_plan_begins_anew() -> None:
    hook, once, again = budget(), model(), model()
    advance(once, adam(once), hook, range(UPDATES))
    hook.plan(UPDATES, 0)
    advance(again, adam(again), hook, range(UPDATES))
    assert hook.findings["masks"] == 12
    assert active(once) == active(again)


# Receipts


def test_the_receipts_say_that_the_budget_was_met() -> None:
    layers, hook = model(), budget()
    advance(layers, adam(layers), hook, range(UPDATES))
    found = hook.receipts(layers)
    assert found["rank_masks"] == {"ok": True, "value": 12, "note": "of 12; unscored: 0"}
    assert found["active_rank"]["ok"]
    assert sum(found["active_rank"]["value"].values()) == 6
    assert found["orthogonality"]["value"] > 0


def test_the_receipts_fail_where_the_allocator_did_not_run_or_a_triplet_revived() -> None:
    layers, hook = model(), budget()
    assert not hook.receipts(layers)["rank_masks"]["ok"]
    assert not hook.receipts(layers)["active_rank"]["ok"]
    advance(layers, adam(layers), hook, range(UPDATES))
    with torch.no_grad():
        for layer in svds(layers):
            layer.lam.fill_(1)
    found = hook.receipts(layers)["active_rank"]
    assert not found["ok"]
    assert "pruned but not zero in " in found["note"]


# Mistakes


@pytest.mark.parametrize(
    ("start", "final"), [(10, 20), (0.5, 0.5), (0, 30), (25, 10), (4, 0), (31, 1)]
)
def test_phases_that_do_not_fit_into_training_are_refused(start: float, final: float) -> None:
    with pytest.raises(
        ConfigError, match=rf"rank_budget: start={start} .*final={final} .*of the 30"
    ):
        budget(start=start, final=final)


@pytest.mark.parametrize("target", [4, 5])
def test_a_target_that_is_not_below_the_initial_rank_is_refused(target: int) -> None:
    with pytest.raises(ConfigError, match=rf"target_rank={target}: must be below .*, 4 \("):
        budget(target_rank=target).check(model())


def test_a_model_without_svd_layers_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"rank_budget: .*there are none"):
        budget().check(nn.Linear(2, 2))


def test_a_frozen_part_of_a_triplet_is_refused() -> None:
    layers = model()
    svds(layers)[1].lam.requires_grad_(False)
    with pytest.raises(ConfigError, match="P, lam and Q of 'wide' to train"):
        budget().check(layers)


@pytest.mark.parametrize(
    ("key", "value"),
    [("target_rank", 0), ("target_rank", 1.5), ("beta1", 1), ("beta2", -0.1), ("beta2", "much")],
)
def test_a_setting_out_of_range_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"rank_budget\.{key}={value}: "):
        budget(**{key: value})


@pytest.mark.parametrize("key", ["start", "final", "interval"])
def test_what_is_no_span_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"rank_budget\.{key}=-1: "):
        budget(**{key: -1})
