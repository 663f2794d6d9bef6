from typing import Any

import pytest
import torch
from bitsandbytes.optim.adamw import AdamW8bit
from restarted_net import UPDATES, Net, adam, advance, restarts
from torch import nn
from torch.optim import SGD

from lowrank_bench.errors import ConfigError
from lowrank_bench.inits.zero_b import zero_b
from lowrank_bench.layers.factorised import FactorisedLinear
from lowrank_bench.layers.lora import LoRALinear
from lowrank_bench.layers.svd import SVDLinear

# Resuming


@pytest.mark.parametrize("how", ["zero", "prune_random", "prune_magnitude"])
@pytest.mark.parametrize("stop", [4, 5, 6, 11])
def test_a_resumed_run_equals_an_uninterrupted_one(stop: int, how: str) -> None:
    whole, resumed, loaded = Net(), Net(), Net()
    advance(whole, adam(whole), restarts(reset=how), range(UPDATES))
    first = adam(resumed)
    advance(resumed, first, restarts(reset=how), range(stop))
    loaded.load_state_dict(resumed.state_dict())
    second = adam(loaded)
    second.load_state_dict(first.state_dict())
    advance(loaded, second, restarts(reset=how), range(stop, UPDATES))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name


# Receipts


@pytest.mark.parametrize("how", ["zero", "prune_random", "prune_magnitude"])
def test_the_receipts_say_what_the_restarts_did(how: str) -> None:
    net, hook = Net(), restarts(reset=how, prune=0.5)
    advance(net, adam(net), hook, range(UPDATES))
    found = hook.receipts(net)
    assert list(found) == ["restarts", "merge_drift", "moments_cleared", "rank_of_change"]
    assert all(each["ok"] for each in found.values())
    assert found["restarts"]["value"] == 3
    assert found["rank_of_change"]["value"] == {"second": 8}


def test_the_receipts_fail_where_nothing_restarted() -> None:
    net, hook = Net(), restarts()
    advance(net, adam(net), hook, range(4))
    assert not hook.receipts(net)["restarts"]["ok"]
    assert hook.receipts(net)["rank_of_change"]["ok"] is None


def test_the_receipts_fail_where_moments_survived() -> None:
    net, hook = Net(), restarts(reset="prune_random", prune=0.5)
    advance(net, adam(net), hook, range(UPDATES))
    hook.prune = 0.99
    assert not hook.receipts(net)["moments_cleared"]["ok"]


def test_the_receipts_fail_where_weights_are_not_finite() -> None:
    net, hook = Net(), restarts()
    optimizer = adam(net)
    advance(net, optimizer, hook, range(7))
    with torch.no_grad():
        net.second.A[0, 0] = torch.nan
    advance(net, optimizer, hook, range(7, UPDATES))
    found = hook.receipts(net)
    assert not found["merge_drift"]["ok"]
    assert not found["rank_of_change"]["ok"]


def test_the_receipts_of_a_merge_that_changes_the_function_fail() -> None:
    class Forgetful(LoRALinear):
        def merge_(self) -> None:
            self.reset_()

    net, hook = Net(Forgetful), restarts()
    advance(net, adam(net), hook, range(UPDATES))
    assert not hook.receipts(net)["merge_drift"]["ok"]


# Mistakes


def test_adalora_cannot_restart() -> None:
    net = nn.Sequential(SVDLinear(nn.Linear(4, 4), 2, 4, 0))
    with pytest.raises(ConfigError, match=r"ReLoRA's restarts .* AdaLoRA's SVDLinear at '0'"):
        restarts().check(net)


def test_a_layer_without_a_base_cannot_restart() -> None:
    net = nn.Sequential(FactorisedLinear(4, 4, 2))
    with pytest.raises(ConfigError, match=r"FactorisedLinear at '0' cannot be merged"):
        restarts().check(net)


def test_a_model_without_adapters_is_refused_before_its_first_step() -> None:
    net = nn.Linear(4, 4)
    before = net.weight.detach().clone()
    with pytest.raises(ConfigError, match="no adapted layer"):
        restarts().before_step(net, SGD(net.parameters(), lr=1), 0)
    assert torch.equal(net.weight, before)


@pytest.mark.reference
def test_eight_bit_moments_are_refused_at_the_first_update() -> None:
    layer = LoRALinear(nn.Linear(256, 256).requires_grad_(False), 16, 4, 0)
    zero_b(layer)
    net = nn.Sequential(layer)
    optimizer = AdamW8bit([layer.A, layer.B], lr=0.1)
    for parameter in (layer.A, layer.B):
        optimizer.init_state(optimizer.param_groups[0], parameter, 0, 0)
    hook = restarts()
    hook.before_step(net, optimizer, 0)
    with pytest.raises(ConfigError, match=r"'state1' \(torch\.uint8\) of AdamW8bit"):
        hook.step_end(net, optimizer, 0)


@pytest.mark.parametrize("cycle", [0, 17, 40, 0.01])
def test_a_cycle_without_room_in_training_is_refused(cycle: float) -> None:
    with pytest.raises(ConfigError, match=rf"restarts\.cycle_length={cycle}: .*of 17"):
        restarts(cycle_length=cycle)


@pytest.mark.parametrize(
    ("key", "value"),
    [("reset", "full"), ("prune", 0), ("prune", 1.1), ("prune", None), ("cycle_length", -1)],
)
def test_a_setting_out_of_range_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"restarts\.{key}={value}: "):
        restarts(**{key: value})
