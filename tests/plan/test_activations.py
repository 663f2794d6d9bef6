"""Activations are those that autograd really saves."""

from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from lowrank_bench.plan.activations import activations
from lowrank_bench.plan.update import kept_bytes
from tests.plan.conftest import SHAPES, kept_by_torch


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("method", ["full", "lora", "dora", "sltrain", "adalora"])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_kept_for_the_backward_pass_is_planned_within_two_percent(
    of_shape: Callable[..., DictConfig], shape: str, method: str, precision: str
) -> None:
    cfg = of_shape(shape, f"method={method}", f"precision={precision}")
    assert kept_bytes(cfg, 4) == pytest.approx(kept_by_torch(cfg, 4), rel=0.02)


def test_checkpointing_keeps_less(of_shape: Callable[..., DictConfig]) -> None:
    whole = kept_bytes(of_shape("vit", "method=full"), 4)
    less = kept_bytes(of_shape("vit", "method=full", "run.checkpoint_activations=true"), 4)
    assert less < 0.4 * whole


def test_a_line_through_two_micro_batches_meets_a_third(
    of_shape: Callable[..., DictConfig],
) -> None:
    cfg = of_shape("llama", "method=lora")
    found = {(a.length, a.micro_batch): a.bytes for a in activations(cfg, 4) if not a.checkpointed}
    assert {batch for _, batch in found} == {1, 2, 4, 8, 16}
    assert {length for length, _ in found} == {4, 8, 16, 32, 64}
    assert found[16, 16] == pytest.approx(kept_bytes(cfg, 16), rel=1e-6)


def test_lengths_beyond_the_models_positions_are_left_out(
    of_shape: Callable[..., DictConfig],
) -> None:
    cfg = of_shape("llama", "method=full", "model.max_positions=16")
    assert {a.length for a in activations(cfg, 1)} == {4, 8, 16}


def test_images_have_no_length(of_shape: Callable[..., DictConfig]) -> None:
    found = activations(of_shape("mlp", "method=full"), 2)
    assert {(a.length, a.micro_batch) for a in found} == {(None, n) for n in (1, 2, 4, 8)}
