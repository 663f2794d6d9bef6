"""The source's head stands in for the run's while the source is asked about, and only then."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch import nn

from lowrank_bench import prepare as prepare_module
from lowrank_bench.prepare import prepare
from lowrank_bench.retention import Source

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning")

Fit = Callable[..., tuple[Any, list[dict[str, Any]]]]
PAIR = ("pair=digits_halves", "model.hidden=[16,16]", "rank=4", "epochs=1")


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))


def test_the_sources_head_stands_in_and_the_own_one_comes_back() -> None:
    model, head = net(), nn.Linear(4, 3)
    own, x = model[1], torch.randn(5, 4)
    with Source(None, "1", head).head_on(model):  # type: ignore[arg-type]
        assert torch.equal(model(x), head(model[0](x)))
    assert model[1] is own


def test_the_own_head_comes_back_after_an_error() -> None:
    model = net()
    own = model[1]
    with pytest.raises(RuntimeError), Source(None, "1", nn.Linear(4, 3)).head_on(model):  # type: ignore[arg-type]
        raise RuntimeError
    assert model[1] is own


def test_the_sources_head_follows_type_and_mode() -> None:
    model, head = net().double().eval(), nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3))
    model[1] = nn.Sequential(nn.Linear(4, 2)).double().eval()
    with Source(None, "1", head).head_on(model):  # type: ignore[arg-type]
        assert not model[1].training
        assert model.get_submodule("1.1").weight.dtype == torch.float64
    model.train()
    with Source(None, "1", head).head_on(model):  # type: ignore[arg-type]
        assert model.get_submodule("1.0").training


def test_without_a_head_of_its_own_the_source_asks_the_models() -> None:
    model = net()
    own = model[1]
    with Source(None).head_on(model):  # type: ignore[arg-type]
        assert model[1] is own


@pytest.mark.parametrize("precision", ["32-true", "bf16-true", "64-true", "bf16-mixed"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_source_is_measured_by_its_own_head_on_the_trained_body(
    fit: Fit, composed: Callable[..., DictConfig], method: str, precision: str
) -> None:
    line = (*PAIR, f"method={method}", f"precision={precision}")
    task, rows = fit(*line, block=1)
    source = task._source[0]
    x, y = source.data.test.fetch(slice(None))
    body = task.model.float().eval()
    body.head = source.head.float()
    with torch.no_grad():
        logits = body(x)
    near = 1e-5 if precision in ("32-true", "64-true") else 0.02
    assert rows[-1]["source_loss"] == pytest.approx(F.cross_entropy(logits, y).item(), rel=near)
    accuracy = float((logits.argmax(-1) == y).double().mean())
    assert rows[-1]["source_accuracy"] == pytest.approx(accuracy, abs=near)


def test_asking_about_the_source_changes_no_bit_of_training(
    fit: Fit, composed: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = (*PAIR, "method=lora", "method.adapter.dropout=0.3", "epochs=2")
    asked, _ = fit(*line)
    take_over = prepare_module._base

    def unasked(*arguments: Any) -> None:
        take_over(*arguments)  # the same weights, and nothing to ask about

    monkeypatch.setattr(prepare_module, "_base", unasked)
    silent, rows = fit(*line)
    assert "source_loss" not in rows[-1]
    weights = silent.model.state_dict()
    assert all(
        torch.equal(value, weights[name]) for name, value in asked.model.state_dict().items()
    )


def test_the_head_of_a_source_is_no_part_of_the_checkpoint(
    composed: Callable[..., DictConfig],
) -> None:
    _, model, _, source, _ = prepare(composed(*PAIR, "method=lora"))
    assert source is not None and source.head is not None
    ids = {id(p) for p in model.parameters()}
    assert not ids & {id(p) for p in source.head.parameters()}
