"""Updates in the order of the clock."""

from typing import Any

import torch


def updates(prepared: Any, count: int, batch_size: int = 4) -> list[float]:
    """The losses of so many updates, each on the same batch, in the order of the clock."""
    data, model, method, *_ = prepared
    optimizer = method.optimizer(model)
    schedule = method.schedule(optimizer, max(count, 20))
    x, y = data.train.fetch(slice(0, batch_size))
    losses = []
    for update in range(count):
        optimizer.zero_grad()
        loss = data.objective.mean(model(x), y)
        (loss + method.penalty(model)).backward()
        method.hooks.before_step(model, optimizer, update)
        optimizer.step()
        schedule.step()
        method.hooks.after_step(model, optimizer, update)
        method.hooks.step_end(model, optimizer, update)
        losses.append(float(loss.detach()))
    assert all(torch.tensor(losses).isfinite())
    return losses
