"""What torch itself does, to hold plans against."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from lowrank_bench.prepare import Prepared, prepare

SHAPES = {
    "mlp": ("data=digits", "model=mlp"),
    "vit": ("data=digits", "model=vit", "model.width=32", "model.heads=2", "model.depth=2"),
    "llama": ("data=random_tokens", "data.length=16", "data.examples=40", "model=llama_9m"),
}


@pytest.fixture
def of_shape(composed: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    """`of_shape("vit", "method=lora")` is a small config of that architecture."""

    def make(shape: str, *overrides: str) -> DictConfig:
        small = ("rank=4", "budget.batch_size=4", "epochs=1")
        own = ("data.val_size=4", "data.test_size=4") if shape == "llama" else ()
        return composed(*SHAPES[shape], *small, *own, *overrides)

    return make


def trained(cfg: DictConfig, updates: int = 2) -> tuple[Prepared, torch.optim.Optimizer]:
    """Real updates on real tensors, in the run's own order."""
    built = prepare(cfg)
    data, model, method = built.data, built.model, built.method
    optimizer = method.optimizer(model)
    method.schedule(optimizer, 1000)
    x, y = data.train.fetch(slice(0, cfg.budget.batch_size))
    for update in range(updates):
        for parameter in model.parameters():
            parameter.grad = None
        loss = data.objective.mean(model(x), y) + method.penalty(model)
        loss.backward()
        method.hooks.before_step(model, optimizer, update)
        optimizer.step()
        method.hooks.after_step(model, optimizer, update)
        method.hooks.step_end(model, optimizer, update)
    return built, optimizer


def kept_by_torch(cfg: DictConfig, examples: int) -> int:
    """Bytes of the tensors that autograd saves in a real forward pass, weights and batch aside."""
    built = prepare(cfg)
    data, model = built.data, built.model
    x, y = data.train.fetch(slice(0, examples))
    known = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers(), x, y)}
    saved: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            saved[storage._cdata] = storage  # which lives on, so that its place is its own
        return tensor

    cast = cfg.precision == "bf16-mixed"
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16) if cast else nullcontext():
        loss = data.objective.mean(model(x), y)
    assert loss.requires_grad
    return sum(storage.nbytes() for storage in saved.values())
