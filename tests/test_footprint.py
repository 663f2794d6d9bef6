from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import nn

from lowrank_bench.footprint import (
    adapter_bytes,
    gradients,
    live_bytes,
    merged_bytes,
    state_tensors,
)
from lowrank_bench.prepare import prepare

RECIPES = (  # one of each kind of layer
    *("full", "galore", "lowrank", "lora", "dora", "adalora", "vera", "cola", "sltrain"),
    *("subspace", "flora", "oft", "ia3"),
)
SMALL = ("model.hidden=[32,32]", "rank=4")
NETWORK = 4 * (64 * 32 + 32 + 32 * 32 + 32 + 32 * 10 + 10)  # bytes of the plain one


def adapted(composed: Callable[..., DictConfig], recipe: str, *more: str) -> Any:
    bank = ("data.adapters=3", "method.adapter.num_adapters=3") if recipe == "flora" else ()
    return prepare(composed(f"method={recipe}", *SMALL, *bank, *more)).model


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_merged_model_has_the_bytes_of_the_plain_one(
    recipe: str, composed: Callable[..., DictConfig]
) -> None:
    model = adapted(composed, recipe)
    layers: list[Any] = [m for m in model.modules() if hasattr(m, "domain")]
    is_mergeable = all(layer.mergeable for layer in layers)
    assert merged_bytes(model) == (NETWORK if is_mergeable else None)


def test_an_adapter_is_what_trains(composed: Callable[..., DictConfig]) -> None:
    head = 4 * (32 * 10 + 10)
    factors = 4 * 4 * ((64 + 32) + (32 + 32))
    targets = "method.targets=[hidden.*]"
    assert adapter_bytes(adapted(composed, "full")) == NETWORK
    assert adapter_bytes(adapted(composed, "lora", targets)) == factors + head


def test_what_is_drawn_anew_is_not_saved_and_what_is_kept_is(
    composed: Callable[..., DictConfig],
) -> None:
    vera = adapted(composed, "vera")
    trained = sum(p.nbytes for p in vera.parameters() if p.requires_grad)
    assert any(buffer.nbytes for buffer in vera.buffers())
    assert adapter_bytes(vera) == trained  # its shared matrices come from a seed
    sltrain = adapted(composed, "sltrain")
    trained = sum(p.nbytes for p in sltrain.parameters() if p.requires_grad)
    places = sum(buffer.nbytes for buffer in sltrain.buffers())
    assert places > 0
    assert adapter_bytes(sltrain) == trained + places


def test_shared_memory_counts_once() -> None:
    whole = torch.zeros(10)
    assert live_bytes([whole, whole.view(2, 5), nn.Parameter(whole)]) == 40


def test_of_a_larger_block_the_part_counts_and_no_byte_twice() -> None:
    block = torch.zeros(1000)
    assert live_bytes([block[:10], block[10:30]]) == 120
    assert live_bytes([block, block[:10]]) == 4000


def test_sizes_are_told_without_values() -> None:
    model = nn.Linear(3, 5, device="meta")
    other = nn.Linear(3, 5, device="meta")
    assert live_bytes([*model.parameters(), *other.parameters()]) == 2 * 4 * (15 + 5)


def test_state_that_parameters_share_counts_once() -> None:
    """As bitsandbytes keeps one table of 256 values for all of them."""
    table, weights = torch.zeros(256), [nn.Parameter(torch.zeros(8)) for _ in range(2)]
    optimizer = SimpleNamespace(
        state={
            w: {"m": torch.zeros(8), "table": table, "P": torch.zeros(4), "more": [{"n": table}]}
            for w in weights
        }
    )
    assert live_bytes(state_tensors([optimizer])) == 1024 + 2 * 32 + 2 * 16  # type: ignore[list-item]
    assert live_bytes(state_tensors([optimizer], ("P", "Q"))) == 2 * 16  # type: ignore[list-item]


def test_gradients_are_those_that_live() -> None:
    model = nn.Linear(3, 5)
    assert gradients(model) == []
    model(torch.zeros(1, 3)).sum().backward()
    model.bias.grad = None
    assert live_bytes(gradients(model)) == 60
