"""From the data through the task to the banks."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from omegaconf import DictConfig

from lowrank_bench.data.loader import BlockLoader
from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.flora import FLoRABank
from lowrank_bench.layers.routing import route
from lowrank_bench.prepare import prepare

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning")

Fit = Callable[..., tuple[Any, list[dict[str, Any]]]]
Compose = Callable[..., DictConfig]

FOUR = ("method=flora", "data.adapters=4", "method.adapter.num_adapters=4")


@pytest.mark.parametrize("form", ["multiplicative", "additive"])
def test_a_block_of_sixteen_updates_gives_the_bits_of_single_ones(fit: Fit, form: str) -> None:
    overrides = (*FOUR, f"method.adapter.form={form}", "lr=0.01")
    alone, rows_alone = fit(*overrides, block=1)
    together, rows_together = fit(*overrides, block=16)
    weights, weights_too = alone.model.state_dict(), together.model.state_dict()
    assert all(torch.equal(weights[name], weights_too[name]) for name in weights)
    ends, ends_too = ([r for r in rows if "epoch" in r] for rows in (rows_alone, rows_together))
    for row, row_too in zip(ends, ends_too, strict=True):
        assert {**row, "seconds": 0} == {**row_too, "seconds": 0}


def test_training_and_validation_are_those_of_a_plain_loop(fit: Fit, composed: Compose) -> None:
    overrides = (*FOUR, "method.adapter.form=additive", "method/optimizer=sgd", "lr=0.05")
    task, rows = fit(*overrides, block=16)

    data, model, method, *_ = prepare(composed("model.hidden=[16,16]", "rank=4", *overrides))
    optimizer = method.optimizer(model)
    loader = BlockLoader(data.train, batch_size=64, shuffle=True)
    places = torch.arange(len(data.train))
    for epoch in range(2):
        loader.epoch = epoch
        order = loader._order()
        assert order is not None
        for batch in order.split(64):
            x, y = data.train.fetch(batch)
            route(model, places[batch] % 4)
            model.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    for ours, theirs in zip(task.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)

    assert data.val is not None
    x, y = data.val.fetch(slice(None))
    route(model, torch.arange(len(y)) % 4)
    with torch.no_grad():
        own = F.cross_entropy(model(x), y).item()
        route(model, None)
        of_adapter_0 = F.cross_entropy(model(x), y).item()
    assert rows[-1]["val_loss"] == pytest.approx(own, rel=1e-6)
    assert rows[-1]["val_loss"] != pytest.approx(of_adapter_0, rel=1e-5)


def test_the_task_leaves_no_ids_behind(fit: Fit) -> None:
    task, _ = fit(*FOUR, "epochs=1")
    assert all(m.ids is None for m in task.model.modules() if isinstance(m, FLoRABank))


def test_adapters_that_the_data_do_not_use_never_train(fit: Fit) -> None:
    task, _ = fit("method=flora", "data.adapters=2", "method.adapter.num_adapters=3", "epochs=1")
    bank = task.model.head
    assert (bank.A[0] != bank.A[1]).any()
    assert (bank.B[:2, :, 0] != 1).all()
    assert (bank.B[2, :, 0] == 1).all()
    assert not bank.B[2, :, 1:].any()
    receipts = task.trainer.optimizers[0].receipts(task.model)
    assert receipts["adapter_updates"]["value"] == [20, 20, 0]


def test_other_methods_do_not_mind_adapter_ids(fit: Fit) -> None:
    _, plain = fit("method=lora", "epochs=1")
    _, with_ids = fit("method=lora", "data.adapters=4", "epochs=1")
    assert plain[-1]["val_loss"] == with_ids[-1]["val_loss"]


def test_more_adapters_in_the_data_than_in_the_bank_are_refused(composed: Compose) -> None:
    with pytest.raises(ConfigError, match=r"^data\.adapters=4: .* holds 2; "):
        prepare(composed(*FOUR, "method.adapter.num_adapters=2"))
