"""Many configs in several processes."""

import os
from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from lowrank_bench.errors import ConfigError
from lowrank_bench.plan.workers import each


def named(cfg: DictConfig) -> tuple[str, int]:
    return cfg.method.name, os.getpid()


def breaks(cfg: DictConfig) -> None:
    if cfg.method.name == "lora":
        raise RuntimeError("a value\nwas asked for")


def test_answers_come_in_the_order_of_the_configs(composed: Callable[..., DictConfig]) -> None:
    names = ("full", "lora", "galore", "dora")
    found = each(named, [composed(f"method={name}") for name in names])
    assert tuple(name for name, _ in found) == names


@pytest.mark.parametrize("number", [1, 4])  # here, and in other processes
def test_what_breaks_in_somebodys_own_code_is_one_line(
    composed: Callable[..., DictConfig], number: int
) -> None:
    configs = [composed("method=lora")] * number
    line = r"method=lora: cannot be planned: RuntimeError: a value was asked for \(.*:\d+\)"
    with pytest.raises(ConfigError, match=line):
        each(breaks, configs)
