"""What a run says of its cost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lowrank_bench.callbacks import cost as module
from lowrank_bench.callbacks import energy
from lowrank_bench.callbacks.energy import Energy
from lowrank_bench.record import COSTS
from lowrank_bench.task import Task

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning")

Ran = Callable[..., dict[str, Any]]

NETWORK = 4 * (64 * 32 + 32 + 32 * 32 + 32 + 32 * 10 + 10)  # bytes
COUNTERS = 4 * 6  # AdamW counts the steps of each parameter


def test_every_cost_that_is_known_says_how(ran: Ran) -> None:
    record = ran("method=lora", "epochs=2")
    cost, source = record["cost"], record["cost_source"]
    assert list(cost) == list(source) == list(COSTS)
    known = {key for key, value in cost.items() if value is not None}
    assert {key for key, value in source.items() if value is not None} == known
    assert set(COSTS) - known <= {  # of language models, of projections, of other devices
        *("tokens_per_s", "flops_renewing_update", "peak_reserved_bytes", "energy_j"),
    }
    derived = {key for key, value in source.items() if value == "derived"}
    assert derived - {"merge_s"} == {
        *("examples_per_s", "adapter_bytes", "merged_model_bytes", "switch_s", "train_flops"),
    }
    assert record["env"]["threads"] >= 1


def test_bytes_are_those_of_the_tensors(ran: Ran) -> None:
    cost = ran("method=full", "epochs=1")["cost"]
    assert cost["weight_bytes"] == cost["gradient_bytes"] == NETWORK
    assert cost["adapter_bytes"] == cost["merged_model_bytes"] == NETWORK
    assert cost["optimizer_state_bytes"] == 2 * NETWORK + COUNTERS
    assert cost["buffer_bytes"] == cost["projector_bytes"] == 0
    assert cost["checkpoint_bytes"] > 3 * NETWORK
    # Weights and states before the update, gradients in it, and what forward and backward keep.
    activations = 4 * 64 * (2 * 32 + 2 * 32 + 3 * 10)
    assert 4 * NETWORK < cost["peak_memory_bytes"] < 4 * NETWORK + COUNTERS + 2 * activations
    assert cost["rss_peak_bytes"] > 10 * cost["peak_memory_bytes"]  # with torch itself


def test_projections_are_told_apart_from_moments(ran: Ran) -> None:
    cost = ran("method=galore", "rank=4", "epochs=1")["cost"]
    bases = 4 * 4 * (32 + 32 + 10)  # the shorter sides of three weights
    moments = 2 * 4 * 4 * (64 + 32 + 32)
    biases = 2 * 4 * (32 + 32 + 10)
    assert cost["projector_bytes"] == bases
    assert cost["optimizer_state_bytes"] == bases + moments + biases + COUNTERS


def test_gradients_that_a_backward_pass_frees_are_no_more(ran: Ran) -> None:
    line = ("method=galore", "epochs=1", "budget.updates_per_epoch=4")
    plain = ran(*line)["cost"]
    freed = ran(*line, "method.transform.per_layer=true")["cost"]
    assert plain["gradient_bytes"] == NETWORK and freed["gradient_bytes"] == 0
    assert freed["optimizer_state_bytes"] == plain["optimizer_state_bytes"]
    assert freed["peak_memory_bytes"] < plain["peak_memory_bytes"]


def test_rates_are_of_the_median_step(ran: Ran) -> None:
    cost = ran("method=full", "epochs=2", "budget.batch_size=50")["cost"]
    assert cost["examples_per_s"] == pytest.approx(50 / cost["step_time_s"]["median"])
    assert cost["step_time_s"]["p95"] >= cost["step_time_s"]["median"]
    assert cost["tokens_per_s"] is None


def test_a_language_model_is_told_in_tokens(ran: Ran) -> None:
    line = ("data=random_tokens", "model=llama_micro", "model.hidden=96", "data.length=16")
    short = ("epochs=1", "budget.updates_per_epoch=25", "budget.batch_size=4")
    cost = ran("method=lora", *line, *short)["cost"]
    assert cost["tokens_per_s"] == pytest.approx(16 * cost["examples_per_s"])


def test_a_run_too_short_for_a_median_has_no_rates(ran: Ran) -> None:
    cost = ran("method=full", "epochs=1", "budget.updates_per_epoch=20")["cost"]
    assert cost["step_time_s"] == {"median": None, "p95": None}
    assert cost["examples_per_s"] is None


def test_what_evaluation_draws_is_left_out(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {"device": 0}

    def drawing(step: Callable[..., Any], microjoules: int) -> Callable[..., Any]:
        def drawn_by(*arguments: Any) -> Any:
            drawn["device"] += microjoules
            return step(*arguments)

        return drawn_by

    monkeypatch.setattr(Task, "training_step", drawing(Task.training_step, 1))
    monkeypatch.setattr(Task, "validation_step", drawing(Task.validation_step, 10**6))
    monkeypatch.setattr(energy.Energy, "of", lambda *_: Energy(lambda: dict(drawn)))
    record = ran("method=full", "epochs=3", "budget.updates_per_epoch=5", "run.block=1")
    assert record["cost"]["energy_j"] == pytest.approx(15e-6)
    assert drawn["device"] > 10**6


def test_a_run_that_is_never_evaluated_has_a_record(ran: Ran) -> None:
    line = ("data.val_size=0", "budget.selection=last", "epochs=1", "budget.updates_per_epoch=4")
    record = ran("method=full", *line)
    assert record["status"] == "finished"
    assert record["cost"]["peak_memory_bytes"] > 0


def test_the_steps_that_allocators_settle_in_are_not_timed(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WARMUP_UPDATES", 0)
    cost = ran("method=full", "epochs=1", "budget.updates_per_epoch=4")["cost"]
    times = cost["step_time_s"]  # of the one that is left
    assert times["median"] == times["p95"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lowrank", "lora", "galore"])
def test_measuring_takes_little_of_a_thousand_updates(
    ran: Ran, method: str, tmp_path: Path
) -> None:
    """Under 1 % on a machine that does nothing else; the bound leaves room for one that does."""
    line = (f"method={method}", "method/optimizer=sgd", "model.hidden=[512,512]", "rank=8")
    cost = ran(*line, "epochs=50", folder=tmp_path / "run")["cost"]
    assert cost["measuring_seconds"] < 0.03 * cost["train_seconds"]
