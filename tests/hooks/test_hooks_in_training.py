"""AdaLoRA and ReLoRA through the task, on its own clock."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from lowrank_bench.door import load_method
from lowrank_bench.errors import ConfigError
from lowrank_bench.hooks.rank_budget import RankBudget
from lowrank_bench.layers.svd import SVDLinear
from lowrank_bench.models.mlp import MLP
from lowrank_bench.penalties.orthogonality import Orthogonality
from lowrank_bench.prepare import prepare
from lowrank_bench.task import Task

Fit = Callable[..., Any]
BUDGET = "method.hooks.rank_budget."


def layers(task: Task) -> list[SVDLinear]:
    return [m for m in task.model.modules() if isinstance(m, SVDLinear)]


def weights(task: Task) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in task.model.named_parameters()}


def test_adalora_ends_a_run_at_its_budget(fit: Fit) -> None:
    task, _ = fit("method=adalora")
    hook = task.method.hooks.hooks["rank_budget"]
    found = hook.receipts(task.model)
    assert [layer.rank for layer in layers(task)] == [6, 6, 6]
    assert sum(layer.active_rank for layer in layers(task)) == 12
    assert all(not layer.lam[~layer.active].any() for layer in layers(task))
    assert hook.findings["masks"] > 20
    assert found["rank_masks"]["ok"]
    assert found["active_rank"]["ok"]


@pytest.mark.parametrize("method", ["adalora", "relora"])
def test_blocks_of_updates_change_no_bit(fit: Fit, method: str) -> None:
    one, many = (weights(fit(f"method={method}", block=block)[0]) for block in (1, 16))
    assert all(torch.equal(one[name], many[name]) for name in one)


def test_without_weight_the_penalty_changes_no_bit(fit: Fit) -> None:
    with_none, _ = fit("method=adalora", penalty=None)
    weightless, _ = fit("method=adalora", penalty=Orthogonality(0, "squared_sum"))
    usual, _ = fit("method=adalora")
    ours, theirs = weights(with_none), weights(weightless)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not torch.equal(ours["hidden.0.P"], weights(usual)["hidden.0.P"])


def test_until_the_budget_falls_adalora_is_a_plain_adapter(fit: Fit) -> None:
    """Scoring changes nothing: what the factors do is Adam's on their own gradients."""
    late = (f"{BUDGET}start=38", f"{BUDGET}final=1")
    seen: dict[str, dict[str, torch.Tensor]] = {}

    class Camera:
        def __init__(self, name: str) -> None:
            self.name = name

        def step_end(self, model: Any, optimizer: Any, update: int) -> None:
            if update == 38:
                seen[self.name] = {n: p.detach().clone() for n, p in model.named_parameters()}

    task, _ = fit("method=adalora", *late, penalty=None, hooks={"camera": Camera("plain")})
    budget = RankBudget(4, 38, 1, 1, 0.85, 0.85, score_after_step=False)
    fit("method=adalora", *late, penalty=None, hooks={"b": budget, "camera": Camera("scored")})
    assert sum(layer.active_rank for layer in layers(task)) == 18
    assert all(torch.equal(seen["plain"][n], seen["scored"][n]) for n in seen["plain"])


def test_relora_restarts_on_its_cycle_and_keeps_the_function(fit: Fit) -> None:
    task, _ = fit("method=relora")
    hook = task.method.hooks.hooks["restarts"]
    found = hook.receipts(task.model)
    assert hook.cycle == 10
    assert found["restarts"] == {"ok": True, "value": 3, "note": "of 3"}
    assert all(each["ok"] for each in found.values()), found


def test_the_rate_is_zero_in_the_update_that_a_restart_follows(fit: Fit) -> None:
    rates: dict[int, float] = {}

    class Meter:
        def before_step(self, model: Any, optimizer: Any, update: int) -> None:
            rates[update] = optimizer.param_groups[0]["lr"]

    fit("method=relora", hooks={"meter": Meter()})
    assert [update for update, rate in rates.items() if rate == 0] == [0, 10, 20, 30]
    assert rates[11] > 0


def test_a_budget_that_prunes_nothing_is_refused_before_training(
    composed: Callable[..., Any],
) -> None:
    with pytest.raises(ConfigError, match=r"rank_budget\.target_rank=8: must be below"):
        prepare(composed("method=adalora", "method.adapter.rank_factor=1"))


def test_adalora_with_restarts_is_refused_before_training() -> None:
    both = load_method("adalora", ["method/hooks=restarts"])
    with pytest.raises(ConfigError, match=r"ReLoRA's restarts .* AdaLoRA's SVDLinear"):
        both.apply(MLP((4,), [8], 3))
