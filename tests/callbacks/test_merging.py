from collections.abc import Callable
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import nn

from lowrank_bench.callbacks import merging as module
from lowrank_bench.callbacks.merging import Merging, merging
from lowrank_bench.prepare import prepare


def adapted(composed: Callable[..., DictConfig], recipe: str) -> Any:
    return prepare(composed(f"method={recipe}", "model.hidden=[32,32]", "rank=4")).model


def test_adapters_that_are_a_product_are_merged_and_switched(composed) -> None:
    model = adapted(composed, "lora")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = merging(model, budget_s=10.0)
    assert found.merge_s is not None and 0 < found.merge_s < 1
    assert found.switch_s is not None and 0 < found.switch_s < 1
    assert found.all_were_merged
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("recipe", ["lowrank", "dora", "oft"])
def test_what_is_no_correction_by_a_product_is_merged_alone(composed, recipe: str) -> None:
    found = merging(adapted(composed, recipe), budget_s=10.0)
    assert found.merge_s and found.switch_s is None


@pytest.mark.parametrize("recipe", ["full", "galore", "cola"])
def test_where_nothing_merges_nothing_is_told(composed, recipe: str) -> None:
    assert merging(adapted(composed, recipe), budget_s=10.0) == Merging(None, None, False)


class Slow(nn.Module):
    """Takes as many milliseconds to merge as it has inputs."""

    domain, mergeable, out_features = "adapter", True, 1

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.calls = 0

    def effective_weight(self) -> torch.Tensor:
        self.calls += 1
        clock[0] += self.in_features / 1000
        return torch.zeros(())


clock = [0.0]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> nn.ModuleList:
    monkeypatch.setattr(module, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(module, "adapter_state", refuse)
    return nn.ModuleList([Slow(10), Slow(30), Slow(20)])


def refuse(model: nn.Module) -> Any:
    raise module.ConfigError("none of these")


def test_a_merge_beyond_the_budget_is_told_by_its_largest_layer(slow: nn.ModuleList) -> None:
    found = merging(slow, budget_s=0.059)
    assert found.merge_s == pytest.approx(0.06)  # 30 ms, for 30 of 60 weights
    assert not found.all_were_merged
    assert [layer.calls for layer in slow] == [0, 1, 0]


def test_a_merge_within_the_budget_is_measured_layer_by_layer(slow: nn.ModuleList) -> None:
    found = merging(slow, budget_s=0.061)
    assert found.merge_s == pytest.approx(0.06)
    assert found.all_were_merged
    assert [layer.calls for layer in slow] == [1, 2, 1]


def test_a_run_is_not_lost_for_want_of_memory(
    slow: nn.ModuleList, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(_: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Slow, "effective_weight", too_large)
    assert merging(slow, budget_s=1.0) == Merging(None, None, False)
