from collections.abc import Callable
from math import cos, pi
from typing import Any

import pytest
import torch
from torch.optim import SGD

from lowrank_bench.errors import ConfigError
from lowrank_bench.schedules import constant, cosine

Schedule = Callable[..., Any]


def optimizer(*lrs: float) -> SGD:
    return SGD([{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in lrs])


def rates(schedule: Schedule, num_updates: int, lr: float = 1.0, **options: float) -> list[float]:
    """The learning rate of each update, and what is left after the last."""
    inner = optimizer(lr)
    scheduler = schedule(inner, num_updates, **options)
    used = []
    for _ in range(num_updates):
        used.append(inner.param_groups[0]["lr"])
        inner.step()
        scheduler.step()
    return [*used, inner.param_groups[0]["lr"]]


def test_constant_is_constant() -> None:
    assert rates(constant, 5, lr=0.3, warmup=0) == [0.3] * 6


def test_constant_warms_up_in_equal_steps() -> None:
    expected = [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1]
    assert rates(constant, 8, warmup=0.5) == expected


def test_cosine_has_the_values_computed_by_hand() -> None:
    # 2 of 10 updates warm up; then p = 0, 1/8, ... and lr = 0.2 + 0.8 (1 + cos(pi p)) / 2
    found = rates(cosine, 10, warmup=0.2, min_ratio=0.2)
    falling = [0.2 + 0.4 * (1 + cos(pi * eighths / 8)) for eighths in range(9)]
    assert found == pytest.approx([0.5, 1.0, *falling])
    assert found[6] == pytest.approx(0.6)  # half-way, cos = 0


def test_cosine_ends_at_its_ratio_and_stays_there() -> None:
    inner = optimizer(2.0)
    scheduler = cosine(inner, 10, warmup=0.1, min_ratio=0.05)
    for _ in range(10):
        inner.step()
        scheduler.step()
    assert inner.param_groups[0]["lr"] == pytest.approx(0.1)
    for _ in range(5):
        inner.step()
        scheduler.step()
    assert inner.param_groups[0]["lr"] == pytest.approx(0.1)


def test_cosine_without_warm_up_starts_at_the_full_rate() -> None:
    assert rates(cosine, 10, lr=0.3, warmup=0, min_ratio=0)[0] == 0.3


SCHEDULES = [
    pytest.param(constant, {}, id="constant"),
    pytest.param(cosine, {"min_ratio": 0.1}, id="cosine"),
]


@pytest.mark.parametrize(("schedule", "options"), SCHEDULES)
def test_the_first_update_of_a_warm_up_moves(schedule: Schedule, options: dict[str, float]) -> None:
    inner = optimizer(1.0)
    schedule(inner, 1000, warmup=0.1, **options)
    [parameter] = inner.param_groups[0]["params"]
    parameter.grad = torch.ones(1)
    inner.step()
    assert parameter.item() == pytest.approx(1 - 0.01)


@pytest.mark.parametrize(("schedule", "options"), SCHEDULES)
def test_the_warm_up_reaches_the_full_rate(schedule: Schedule, options: dict[str, float]) -> None:
    found = rates(schedule, 20, warmup=0.25, **options)
    assert found[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize(("schedule", "options"), SCHEDULES)
def test_ratios_between_groups_survive(schedule: Schedule, options: dict[str, float]) -> None:
    inner = optimizer(0.01, 0.16)
    scheduler = schedule(inner, 12, warmup=0.25, **options)
    seen = set()
    for _ in range(12):
        first, second = (group["lr"] for group in inner.param_groups)
        assert second / first == pytest.approx(16)
        seen.add(first)
        inner.step()
        scheduler.step()
    assert len(seen) > 2


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan"), "much", None])
@pytest.mark.parametrize(("schedule", "options"), SCHEDULES)
def test_a_warm_up_that_is_no_share_of_the_updates_is_refused(
    schedule: Schedule, options: dict[str, float], fraction: Any
) -> None:
    with pytest.raises(ConfigError, match=rf"method\.schedule\.warmup={fraction}: "):
        schedule(optimizer(1.0), 10, warmup=fraction, **options)


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan"), "much", None])
def test_a_final_ratio_outside_its_range_is_refused(ratio: Any) -> None:
    with pytest.raises(ConfigError, match=rf"method\.schedule\.min_ratio={ratio}: "):
        cosine(optimizer(1.0), 10, warmup=0, min_ratio=ratio)
