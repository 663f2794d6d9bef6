"""What each of several devices holds."""

import pytest

from lowrank_bench.plan.sharding import PerDevice, per_device

OF_ONE = {
    "weights": 800,
    "gradients": 400,
    "optimizer_state": 1600,
    "activations": 100,
    "peak": 3000,
    "largest_block": 50,
}


def test_one_device_holds_it_all_whatever_the_strategy() -> None:
    for strategy in ("ddp", "fsdp"):
        assert per_device(strategy, 1, **OF_ONE) == PerDevice(800, 400, 1600, 0, 100, 3000)


def test_ddp_holds_gradients_twice() -> None:
    assert per_device("ddp", 4, **OF_ONE) == PerDevice(800, 400, 1600, 400, 100, 3400)


def test_fsdp_holds_shards_and_two_whole_blocks() -> None:
    assert per_device("fsdp", 8, **OF_ONE) == PerDevice(100, 50, 200, 100, 100, 650)


def test_a_model_of_one_block_is_gathered_once() -> None:
    whole = OF_ONE | {"largest_block": 800}
    assert per_device("fsdp", 8, **whole).in_transit == 800


def test_another_strategy_is_unknown() -> None:
    with pytest.raises(ValueError, match="zero2"):
        per_device("zero2", 2, **OF_ONE)
