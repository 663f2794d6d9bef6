from typing import Any

import pytest
import torch
from pruned_layers import UPDATES, active, adam, advance, budget, model, svds
from torch import nn

from lowrank_bench.errors import ConfigError

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
