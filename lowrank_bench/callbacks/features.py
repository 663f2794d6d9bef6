"""What the last layer of a network gets to see of a few fixed examples."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lowrank_bench.data.part import Part
from lowrank_bench.layers.routing import router

EXAMPLES = 1000
ROWS = 2000  # positions of sequences
BATCH = 100
POSITIONS = 500  # in a batch of sequences: each has logits over a whole vocabulary


@torch.no_grad()
def features_of(model: nn.Module, part: Part, head: str | None) -> Tensor:
    """The inputs of the module `head`, or the outputs where it is None: (n, d) float32, CPU.

    Of up to EXAMPLES examples, evenly spaced over `part`. A sequence gives a row for each
    position that is not padding (a token below zero), and as many sequences are taken as give
    ROWS rows, were they whole. Dropout is off; modes, gradients, generators and banks are left as
    they were.
    """
    at = next(model.parameters())
    picked, batch = evenly(len(part), EXAMPLES), BATCH
    rows: list[Tensor] = []
    if not (x := part.fetch(picked[:1])[0]).is_floating_point() and x.ndim == 2:
        picked = evenly(len(part), min(EXAMPLES, -(-ROWS // x.shape[1])))
        batch = max(1, POSITIONS // x.shape[1])
    route = router(model)
    with _undisturbed(model), _listening(model, head) as got:
        for index in picked.split(batch):
            x = _fitting(part.fetch(index)[0], at)
            ids = part.fetch_ids(index)
            route(None if ids is None else ids.to(at.device))
            # Not model(x): what is compiled would be compiled anew, and without the listener.
            output = model.forward(x)
            rows.append(_rows(got.pop() if head else output, x))
        route(None)
    found = torch.cat(rows)
    return found[evenly(len(found), ROWS)]


@torch.no_grad()
def last_linear(model: nn.Module, part: Part) -> str | None:
    """The name of the linear layer of a plain model that is called last: its output layer."""
    called: list[str] = []
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: called.append(name))
        for name, module in model.named_modules()
        if name and isinstance(module, nn.Linear)
    ]
    at = next(model.parameters())
    try:
        with _undisturbed(model):
            model.forward(_fitting(part.fetch(slice(0, 1))[0], at))
    finally:
        for hook in hooks:
            hook.remove()
    return called[-1] if called else None


def evenly(total: int, most: int) -> Tensor:
    """Up to `most` of the numbers below `total`, evenly spaced, in order."""
    count = min(total, most)
    return torch.arange(count) * total // max(count, 1)


def _rows(seen: Tensor, x: Tensor) -> Tensor:
    """(n, d), or of each position that counts in (n, t, d)."""
    rows = seen.detach().flatten(0, -2).float().cpu()
    if not x.is_floating_point() and seen.shape[:-1] == x.shape:
        rows = rows[(x >= 0).flatten().cpu()]
    return rows


@contextmanager
def _listening(model: nn.Module, head: str | None) -> Iterator[list[Tensor]]:
    """The inputs that `head` gets, one a call."""
    got: list[Tensor] = []

    def listen(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        got.append(args[0] if args else next(iter(kwargs.values())))

    if head is None:
        yield got
        return
    hook = model.get_submodule(head).register_forward_pre_hook(listen, with_kwargs=True)
    try:
        yield got
    finally:
        hook.remove()


def _fitting(x: Tensor, at: Tensor) -> Tensor:
    return x.to(at) if x.is_floating_point() else x.to(at.device)


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Dropout off; afterwards modes and generators are what they were."""
    modes = {module: module.training for module in model.modules()}
    devices = sorted({p.get_device() for p in model.parameters() if p.is_cuda})
    try:
        with torch.random.fork_rng(devices=devices):
            model.eval()
            yield
    finally:
        for module, was in modes.items():
            module.training = was
