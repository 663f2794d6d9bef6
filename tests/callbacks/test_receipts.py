"""What a run says of whether its method acted."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from lowrank_bench.callbacks.receipts import Receipts
from lowrank_bench.callbacks.starts import dense_weights, start_receipts
from lowrank_bench.prepare import prepare
from lowrank_bench.receipt import receipt

Fit = Callable[..., tuple[Any, list[dict[str, Any]]]]
Ran = Callable[..., dict[str, Any]]


def test_the_dense_weight_of_every_layer_is_seen_once(composed) -> None:
    for recipe in ("full", "lowrank", "lora"):
        _, model, *_ = prepare(composed(f"method={recipe}"))
        assert list(dense_weights(model)) == ["hidden.0", "hidden.1", "head"]


def test_a_dense_start_has_the_scale_of_nn_linear() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 200))
    found = start_receipts(model, dense_weights(model))
    assert found["start_std_ratio"]["value"]["0"] == pytest.approx(1, abs=0.01)
    assert found["above_break_even"]["value"] == []
    assert "scale" not in found and "start_equals_base" not in found


def test_layers_larger_than_dense_are_named(composed) -> None:
    _, model, *_ = prepare(composed("method=lowrank", "rank=16", "model.hidden=[64,64]"))
    found = start_receipts(model, dense_weights(model))
    assert found["above_break_even"]["value"] == ["head"]  # 16 > 64 * 10 / 74


def test_the_first_step_is_measured_against_the_start() -> None:
    layer = nn.Linear(3, 3, bias=False)
    model = nn.Sequential(layer)
    receipts = Receipts(model)
    with torch.no_grad():
        layer.weight *= 1.25
    receipts.first_update(model)
    assert receipts.receipts["first_step"]["value"]["0"] == pytest.approx(0.25)


def test_a_first_step_from_zero_is_no_share_of_anything() -> None:
    layer = nn.Linear(3, 3)
    nn.init.zeros_(layer.weight)
    model = nn.Sequential(layer)
    receipts = Receipts(model)
    nn.init.ones_(layer.weight)
    receipts.first_update(model)
    assert receipts.receipts["first_step"]["value"] == {"0": None}


def test_a_run_records_the_first_step_of_each_layer_and_what_receipts_took(ran: Ran) -> None:
    record = ran("method=full", "method/optimizer=sgd", "epochs=1", "lr=1e-3")
    first = record["receipts"]["first_step"]["value"]
    assert list(first) == ["hidden.0", "hidden.1", "head"]
    assert all(0 < share < 0.1 for share in first.values())
    assert record["cost"]["receipt_seconds"] > 0
    assert record["cost_source"]["receipt_seconds"] == "measured"


def test_a_role_that_never_learns_fails_its_receipts(fit: Fit, composed) -> None:
    class Counting:
        def __init__(self) -> None:
            self.findings = {"calls": 0}

        def step_end(self, model: nn.Module, optimizer: Any, update: int) -> None:
            self.findings["calls"] += 1

        def receipts(self, model: nn.Module) -> dict[str, Any]:
            return {"called": receipt(self.findings["calls"] == 40, self.findings["calls"])}

    task, _ = fit("method=full", hooks={"counting": Counting()})
    receipts = Receipts(task.model)
    for parameter in task.model.parameters():
        if parameter.ndim == 2:
            parameter.grad = torch.zeros_like(parameter)
    receipts.on_train_epoch_end(task.trainer, task)
    receipts.on_train_end(task.trainer, task)
    found = receipts.receipts
    assert found["gradient_reached"] == receipt(
        False, {"dense": False, "bias": True}, "dense received no gradient"
    )
    assert found["moved"]["ok"] is False
    assert found["called"]["ok"] is True


def test_what_a_hook_found_travels_with_the_checkpoint(fit: Fit) -> None:
    class Part:
        def __init__(self) -> None:
            self.findings = {"merges": 0}

    before, after = Part(), Part()
    before.findings["merges"] = 3
    task, _ = fit("method=full", "epochs=1", hooks={"part": before})
    saved: dict[str, Any] = {}
    Receipts(task.model).on_save_checkpoint(task.trainer, task, saved)
    task.method.hooks.hooks["part"] = after
    fresh = Receipts(task.model)
    fresh.on_load_checkpoint(task.trainer, task, saved)
    fresh.on_train_start(task.trainer, task)
    assert after.findings == {"merges": 3}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "adalora", "relora", "galore"])
def test_receipts_take_less_than_a_fiftieth_of_a_thousand_updates(ran: Ran, method: str) -> None:
    record = ran(f"method={method}", "epochs=50", "model.hidden=[512,512]", "rank=8")
    assert record["cost"]["receipt_seconds"] < 0.02 * record["cost"]["train_seconds"]
