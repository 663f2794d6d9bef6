"""Stepping each parameter inside the backward pass, so that one gradient lives at a time."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.optim.parts import Advances, Part
from lowrank_bench.precision import uncast
from lowrank_bench.receipt import Receipt, receipt
from lowrank_bench.roles import role_of


class PerLayer:
    """Steps a parameter as soon as its gradient is complete, then frees the gradient.

    The peak of gradients falls from all parameters to the largest. `optimizer.step()` then steps
    what is left (gradients set by hand) and closes the update. The trajectory is that without.
    What needs all gradients at once does not go with it: a second backward pass before
    `optimizer.step()` raises; loss scaling fails in torch's own GradScaler, which finds no
    gradient to check; `torch.nn.utils.clip_grad_norm_` finds none either and CLIPS NOTHING, and
    hooks of a method that read gradients see none.

    Source: Lv 2023 (LOMO), arXiv 2306.09782, section 3.1; GaLore's layer-wise weight update.
    Raises: ConfigError when several devices train, since gradients would not be averaged.
    """

    def __init__(self, optimizer: Advances, parts: Sequence[Part], model: nn.Module) -> None:
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            devices = distributed.get_world_size()
            if devices > 1:
                raise ConfigError(
                    f"method.transform.per_layer=true: does not average gradients over {devices} "
                    "devices; set run.devices=1, or per_layer=false"
                )
        self._stepped: set[str] = set()
        optimizer.findings["had_gradient"] = {}
        owner = weakref.ref(optimizer)  # the model must not keep an old optimizer at work
        for part in parts:
            for name, p, _ in part.members:
                p.register_post_accumulate_grad_hook(partial(_arrived, owner, self, part, name))

    def finish(self) -> None:
        """The update is over: each parameter may be stepped again."""
        self._stepped.clear()

    def step(self, optimizer: Advances, part: Part, name: str, p: torch.Tensor) -> None:
        if name in self._stepped:
            raise ConfigError(
                f"method.transform.per_layer=true: '{name}' received a second gradient before "
                "optimizer.step(); gradients cannot be accumulated over backward passes"
            )
        had_gradient = optimizer.findings["had_gradient"]
        if not had_gradient.get(name):
            had_gradient[name] = p.grad is not None and bool(p.grad.any())
        self._stepped.add(name)
        with uncast(p.device):  # as around optimizer.step()
            optimizer.advance([part])
        p.grad = None

    @staticmethod
    def receipts(optimizer: Advances, model: nn.Module) -> dict[str, Receipt]:
        """`gradient_reached` by role, in place of the one that reads gradients after the step."""
        reached: dict[str, bool] = {}
        for name, p in model.named_parameters():
            if p.requires_grad:
                role = role_of(model, name)
                had = bool(optimizer.findings["had_gradient"].get(name))
                reached[role] = reached.get(role, False) or had
        missing = [role for role, ok in reached.items() if not ok]
        note = f"{', '.join(missing)} received no gradient" if missing else ""
        return {"gradient_reached": receipt(not missing, reached, note)}


def _arrived(
    owner: weakref.ref[Advances], mode: PerLayer, part: Part, name: str, p: torch.Tensor
) -> None:
    optimizer = owner()
    if optimizer is not None and p.grad is not None:
        mode.step(optimizer, part, name, p)
