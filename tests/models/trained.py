"""A config prepared and trained for a few updates in a plain loop."""

from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from lowrank_bench.data.loader import BlockLoader
from lowrank_bench.prepare import Prepared, prepare


def trained(cfg: DictConfig, updates: int = 4) -> tuple[Prepared, dict[str, Tensor], list[float]]:
    """What was prepared, its state before training, and the losses on one batch."""
    prepared = prepare(cfg)
    data, model, method, *_ = prepared
    loader = BlockLoader(data.train, batch_size=16, shuffle=True)
    x, y, *_ = next(iter(loader))
    began = {name: t.clone() for name, t in model.state_dict().items()}
    optimizer: Any = method.optimizer(model)
    schedule, losses = method.schedule(optimizer, 100), []
    for update in range(updates):
        optimizer.zero_grad()
        loss = data.objective.mean(model(x), y) + method.penalty(model)
        loss.backward()
        method.hooks.before_step(model, optimizer, update)
        optimizer.step()
        schedule.step()
        method.hooks.after_step(model, optimizer, update)
        method.hooks.step_end(model, optimizer, update)
        losses.append(float(loss.detach()))
    return prepared, began, losses


def moved(prepared: Prepared, began: dict[str, Tensor]) -> set[str]:
    """Names of parameters and buffers that are no longer what they were."""
    state = prepared.model.state_dict()
    return {name for name in began if not torch.equal(state[name], began[name])}


def trains(prepared: Prepared) -> set[str]:
    return {name for name, p in prepared.model.named_parameters() if p.requires_grad}
