from typing import Any

import pytest
import torch
from torch.optim import SGD

from lowrank_bench.errors import ConfigError
from lowrank_bench.schedules import jagged_cosine

# N = 15000, w = 500, q = 100, F = 5000: the values of the reference's code.
PAPER = {"cycle_length": 5000, "warmup": 500, "restart_warmup": 100, "min_ratio": 0.1}


def rates(num_updates: int, *, lr: float = 1.0, **options: Any) -> list[float]:
    inner = SGD([torch.nn.Parameter(torch.ones(1))], lr=lr)
    scheduler = jagged_cosine(inner, num_updates, **(PAPER | options))
    used = []
    for _ in range(num_updates):
        used.append(inner.param_groups[0]["lr"])
        inner.step()
        scheduler.step()
    return used


@pytest.fixture(scope="module")
def golden() -> list[float]:
    return rates(15000)


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        (0, 0),
        (250, 0.5),
        (500, 1),
        (4999, 0.802615),
        (5000, 0),
        (5001, 0.007944),
        (5100, 0.794406),
        (10000, 0),
        (10001, 0.003307),
    ],
)
def test_the_curve_has_the_golden_values(golden: list[float], update: int, expected: float) -> None:
    assert golden[update] == pytest.approx(expected, abs=5e-7)


def test_the_curve_ends_near_its_least_ratio(golden: list[float]) -> None:
    assert golden[-1] == pytest.approx(0.1, abs=1e-6)


def test_shares_of_the_run_are_the_same_lengths(golden: list[float]) -> None:
    shares = {"cycle_length": 1 / 3, "warmup": 1 / 30, "restart_warmup": 1 / 150}
    assert rates(15000, **shares) == golden


def test_a_restart_has_at_least_one_update_of_warm_up() -> None:
    found = rates(40, cycle_length=10, warmup=2, restart_warmup=0.001)
    assert [u for u, rate in enumerate(found) if rate == 0] == [0, 10, 20, 30]


def test_the_last_cycle_may_be_shorter() -> None:
    found = rates(25, cycle_length=10, warmup=0, restart_warmup=2)
    assert [u for u, rate in enumerate(found) if rate == 0] == [10, 20]
    assert len(found) == 25


def test_ratios_between_groups_survive() -> None:
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in (0.01, 0.16)]
    inner = SGD(groups)
    scheduler = jagged_cosine(inner, 15000, **PAPER)
    for _ in range(600):
        inner.step()
        scheduler.step()
        low, high = (group["lr"] for group in inner.param_groups)
        assert high == pytest.approx(16 * low)


@pytest.mark.parametrize(
    "options",
    [
        {"restart_warmup": 5000},
        {"warmup": 5001},
        {"cycle_length": 0},
        {"cycle_length": 20000, "warmup": 15000},
    ],
)
def test_warm_ups_that_do_not_fit_into_a_cycle_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"method\.schedule\.cycle_length=.*no room"):
        rates(15000, **options)


@pytest.mark.parametrize("key", ["cycle_length", "warmup", "restart_warmup", "min_ratio"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), "much", None])
def test_what_is_no_span_or_ratio_is_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"method\.schedule\.{key}={value}: "):
        rates(100, **{"cycle_length": 50, "warmup": 5, "restart_warmup": 1, key: value})
