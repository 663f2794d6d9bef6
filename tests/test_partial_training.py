"""The recipes that train part of the network as it is."""

from collections.abc import Callable

import pytest
import torch
from omegaconf import DictConfig
from torch import nn

from lowrank_bench.build import build
from lowrank_bench.errors import ConfigError
from lowrank_bench.method import Method
from lowrank_bench.prepare import prepare

Compose = Callable[..., DictConfig]


def trained(model: nn.Module) -> list[str]:
    return [name for name, p in model.named_parameters() if p.requires_grad]


def test_head_trains_the_head_alone(composed: Compose) -> None:
    _, model, method, *_ = prepare(composed("method=head", "model.hidden=[16,16]"))
    assert trained(model) == ["head.weight", "head.bias"]
    assert len(method.optimizer(model).param_groups) == 2  # dense and bias


def test_bitfit_trains_all_biases_and_the_head(composed: Compose) -> None:
    _, model, *_ = prepare(composed("method=bitfit", "model.hidden=[16,16]"))
    assert trained(model) == ["hidden.0.bias", "hidden.1.bias", "head.weight", "head.bias"]


def test_bitfit_without_biases_says_that_there_are_none(composed: Compose) -> None:
    method = Method(**build(composed("method=bitfit").method, "method"))
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False))
    with pytest.raises(ConfigError, match=r"^method\.trainable: the glob '\*bias' matches nothing"):
        method.apply(model)


@pytest.mark.parametrize("recipe", ["head", "bitfit"])
def test_what_is_frozen_stays_as_it_was(composed: Compose, recipe: str) -> None:
    data, model, method, *_ = prepare(composed(f"method={recipe}", "model.hidden=[16,16]"))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = method.optimizer(model)
    x, y = data.train.fetch(slice(0, 64))
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) is not parameter.requires_grad, name
