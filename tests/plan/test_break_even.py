"""The rank from which factors save nothing."""

from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from lowrank_bench.plan.plan import plan


def test_the_founding_networks_head_stops_saving_before_rank_ten(
    composed: Callable[..., DictConfig],
) -> None:
    for rank, saving in ((9, [True, True, True]), (10, [True, True, False]), (310, [False] * 3)):
        found = plan(composed("data=fashion_mnist", "method=lowrank", f"rank={rank}"), 1)
        assert [layer.saves for layer in found.layers] == saving
        assert found.num_no_saving == saving.count(False)
    # results.md of the field: 309.7, 256 and 9.8
    even = [layer.break_even for layer in found.layers]
    assert even == pytest.approx([784 * 512 / 1296, 256, 5120 / 522])
    assert found.break_even == min(even)


def test_galores_state_is_adams_at_its_own_break_even(composed: Callable[..., DictConfig]) -> None:
    small = ("data=fashion_mnist", "model.hidden=[256,256]", "method.targets=[hidden.1]")
    (layer,) = plan(composed(*small, "method=galore"), 1).layers
    assert layer.break_even_state == pytest.approx(2 * 256 / 3)  # of a square one: 2n/3
    full = _state(plan(composed(*small, "method=full"), 1))
    below, above = (
        _state(plan(composed(*small, "method=galore", f"rank={r}"), 1)) for r in (170, 171)
    )
    assert below < full < above


def _state(found) -> int:
    entries = [e for e in found.ledger.entries if e.name == "hidden.1.weight"]
    return sum(s.elements for e in entries for k, s in e.states.items() if k != "step")


def test_a_kernel_counts_as_the_matrix_that_it_is(composed: Callable[..., DictConfig]) -> None:
    found = plan(composed("data=digits", "model=resnet", "method=lora"), 1)
    shapes = {layer.name: (layer.m, layer.n) for layer in found.layers}
    assert shapes["conv1"] == (64, 1 * 3 * 3)
