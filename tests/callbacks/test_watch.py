"""The look at early updates: what it finds, and that it leaves no trace."""

from collections.abc import Callable
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from time import sleep
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lowrank_bench.callbacks import cost
from lowrank_bench.callbacks.watch import FlopCount, Watch
from lowrank_bench.linalg_flops import MAPPING
from lowrank_bench.prepare import prepare

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning")

Ran = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("recipe", ["full", "lora", "adalora", "galore", "subspace", "oft", "vera"])
def test_it_counts_what_torchs_own_counter_does(composed, recipe: str) -> None:
    data, model, method, *_ = prepare(
        composed(f"method={recipe}", "model.hidden=[32,32]", "rank=4")
    )
    x, y = data.train.fetch(slice(0, 16))

    def update(model: nn.Module, optimizer: Any) -> None:
        loss = data.objective.mean(model(x), y) + method.penalty(model)
        loss.backward()
        optimizer.step()

    counts = []
    for counter in (FlopCounterMode(display=False, custom_mapping=MAPPING), FlopCount()):
        network = deepcopy(model)
        optimizer = method.optimizer(network)
        with counter:
            update(network, optimizer)
        counts.append(getattr(counter, "flops", None) or counter.get_total_flops())  # type: ignore[union-attr]
    assert counts[0] == counts[1] > 0


NONE = ("method=full", "lr=0.01")
LINES = {
    "adamw": NONE,
    "dropout": ("method=lora", "method.adapter.dropout=0.5", "lr=0.01"),
    "projections": ("method=galore", "lr=0.01"),
    "per layer": ("method=galore", "method.transform.per_layer=true", "lr=0.01"),
    "penalty and hooks": ("method=adalora", "lr=0.01"),
    "restarts": ("method=relora", "lr=0.01"),
    "half": (*NONE, "precision=bf16-mixed"),
    "parts of a batch": (*NONE, "run.accumulate=3"),
    "8-bit states": (*NONE, "method/optimizer=adam8bit"),
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_no_bit_of_a_run_depends_on_it(
    ran: Ran,
    line: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    short = ("epochs=1", "budget.updates_per_epoch=6")
    seen = ran(*line, *short, folder=tmp_path / "seen")
    assert "CPUAllocator" not in capfd.readouterr().err  # whose remark would reach the user
    monkeypatch.setattr(Watch, "__call__", unseeing)
    unseen = ran(*line, *short, folder=tmp_path / "unseen")
    assert seen["cost"]["flops_per_update"] and not unseen["cost"]["flops_per_update"]
    assert seen["metrics"] == unseen["metrics"]
    assert seen["receipts"] == unseen["receipts"]
    one, other = (
        torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("seen", "unseen")
    )
    equal(one["state_dict"], other["state_dict"])
    equal(one["optimizer_states"], other["optimizer_states"])


@contextmanager
def unseeing(self: Watch, update: int) -> Any:
    self.task.watch = None
    yield


def equal(one: Any, other: Any) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            equal(one[key], other[key])
    elif isinstance(one, list):
        for mine, yours in zip(one, other, strict=True):
            equal(mine, yours)
    else:
        assert one == other


def test_the_products_of_a_network_are_counted(ran: Ran) -> None:
    record = ran("method=full", "epochs=1", "budget.updates_per_epoch=5", "budget.batch_size=10")
    forward = 2 * 10 * (64 * 32 + 32 * 32 + 32 * 10)
    backward = 2 * forward - 2 * 10 * 64 * 32  # no gradient goes to the images
    assert record["cost"]["flops_per_update"] == forward + backward
    assert record["cost"]["flops_renewing_update"] is None


def test_a_renewed_projection_counts_its_svd(ran: Ran) -> None:
    record = ran("method=galore", "epochs=1", "budget.updates_per_epoch=5", "rank=4")
    cost = record["cost"]
    sides = ((64, 32), (32, 32), (32, 10))
    svds = sum(6 * m * n**2 + 20 * n**3 for m, n in sides)
    assert cost["flops_renewing_update"] - cost["flops_per_update"] == svds
    # The temporaries of an SVD are held beside all weights and gradients.
    plain = ran("method=full", "epochs=1", "budget.updates_per_epoch=5")
    assert cost["peak_memory_bytes"] > plain["cost"]["weight_bytes"] * 2


def test_a_projection_renewed_in_every_update_is_part_of_each(ran: Ran) -> None:
    line = ("method=galore", "method.transform.update_gap=1", "method.transform.moments=keep")
    record = ran(*line, "epochs=1", "budget.updates_per_epoch=5")
    assert record["cost"]["flops_renewing_update"] == record["cost"]["flops_per_update"]


@pytest.mark.parametrize("block", [1, 16])
@pytest.mark.parametrize("updates", [1, 2, 3, 4])
def test_the_shortest_runs_are_looked_at_too(ran: Ran, updates: int, block: int) -> None:
    line = ("method=lora", "epochs=1", f"run.block={block}")
    record = ran(*line, f"budget.updates_per_epoch={updates}")
    assert record["cost"]["peak_memory_bytes"] > record["cost"]["weight_bytes"]
    assert record["cost"]["flops_per_update"] > 0
    assert record["cost_source"]["peak_memory_bytes"] == "measured"


@pytest.mark.parametrize("block", [1, 16])
def test_the_updates_that_it_sees_are_not_timed(
    ran: Ran, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, pause = [], 0.1

    class Slow(Watch):
        @contextmanager
        def __call__(self, update: int) -> Any:
            tasks.append((self.task, update))
            with super().__call__(update):
                sleep(pause)
                yield

    monkeypatch.setattr(cost, "Watch", Slow)
    record = ran("method=full", "epochs=2", f"run.block={block}")
    assert [update for _, update in tasks] == [0, 1, 2]
    task = tasks[0][0]
    assert len(task.step_seconds) == 40 - 3
    assert task.step_seconds[0] < pause
    assert record["cost"]["measuring_seconds"] > 2 * pause  # it says so where it is slow


def test_a_run_that_goes_on_is_looked_at_where_it_does(ran: Ran, tmp_path: Path) -> None:
    line = ("method=galore", "budget.updates_per_epoch=5")
    first = ran(*line, "epochs=1", folder=tmp_path / "run")["cost"]
    second = ran(*line, "epochs=2", folder=tmp_path / "run")["cost"]
    assert second["flops_per_update"] == first["flops_per_update"]
    assert first["flops_renewing_update"] and second["flops_renewing_update"] is None
    assert second["peak_memory_bytes"] > second["weight_bytes"]
    assert second["gradient_bytes"] == first["gradient_bytes"] > 0


def test_of_a_run_that_had_ended_only_what_is_there_is_told(ran: Ran, tmp_path: Path) -> None:
    line = ("method=full", "epochs=1", "budget.updates_per_epoch=5")
    first = ran(*line, folder=tmp_path / "run")["cost"]
    again = ran(*line, folder=tmp_path / "run")["cost"]
    assert again["optimizer_state_bytes"] == first["optimizer_state_bytes"] > 0
    assert again["gradient_bytes"] is again["peak_memory_bytes"] is None
    assert again["flops_per_update"] is None


def test_a_compiled_model_is_looked_at_for_its_memory_alone(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled(self, backend="aot_eager"))
    line = ("method=lora", "epochs=1", "budget.updates_per_epoch=5")
    seen = ran(*line, "run.compile=true")
    monkeypatch.setattr(Watch, "__call__", unseeing)
    unseen = ran(*line, "run.compile=true")
    torch._dynamo.reset()
    assert seen["cost"]["flops_per_update"] is None
    assert seen["cost"]["peak_memory_bytes"] > seen["cost"]["weight_bytes"]
    assert seen["metrics"] == unseen["metrics"]
