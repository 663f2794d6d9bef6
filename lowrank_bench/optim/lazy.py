"""Adapters that stand still while their examples are away."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.flora import FLoRABank
from lowrank_bench.optim.wrapper import Wrapper, evaluated
from lowrank_bench.receipt import Receipt, receipt

Stacks = dict[nn.Parameter, list[nn.Parameter]]  # of (K, ...), its K parts


class Lazy(Wrapper):
    """The inner rule, applied to each adapter of a bank as if it were alone.

    While the inner rule steps, a stack (K, ...) stands in its groups as K parameters that share
    its memory, each with moments and a step count of its own. An adapter that no example of the
    batch was of is passed over: no decay, no momentum, no step counted. So an adapter trained
    among others moves as it would alone. Absent is one whose gradients are exactly 0 in all its
    parameters; that, unlike the ids, is known on every device.

    `findings` counts the updates of each adapter.

    Source: this benchmark, for the banks of arXiv 2312.05677; torch.optim.SparseAdam is the same
    idea with one step count for all, whose bias correction is wrong for late comers.
    Raises: ConfigError when no bank of adapters trains.
    """

    def __init__(
        self, inner: Optimizer, model: nn.Module, names: Sequence[str], seed: int = 0
    ) -> None:
        super().__init__(inner)
        self._stacks: Stacks = {}
        for name in names:
            owner, _, own = name.rpartition(".")
            if isinstance(bank := model.get_submodule(owner), FLoRABank) and own in bank.roles:
                stack = bank.get_parameter(own)
                self._stacks[stack] = [nn.Parameter(part) for part in stack.detach()]
        if not self._stacks:
            raise ConfigError("method.transform=lazy: there is no bank of adapters that trains")
        self._whole = [_listed(group) for group in self.param_groups]
        self._parts = [_taken_apart(listed, self._stacks) for listed in self._whole]
        num_adapters = max(map(len, self._stacks.values()))
        self._counts = [f"updates of adapter {k}" for k in range(num_adapters)]
        self.findings.update(dict.fromkeys(self._counts, 0))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = evaluated(closure)
        present = self._present()
        for stack, parts in self._stacks.items():
            if stack.grad is not None:
                for part, gradient, here in zip(parts, stack.grad, present, strict=True):
                    part.grad = gradient if here else None
        with self._apart():
            self.inner.step()
        for parts in self._stacks.values():
            for part in parts:
                part.grad = None
        for count, here in zip(self._counts, present, strict=True):
            self.findings[count] += here
        return loss

    def state_dict(self) -> dict[str, Any]:
        with self._apart():
            return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        with self._apart():
            super().load_state_dict(state_dict)

    def receipts(self, model: nn.Module) -> dict[str, Receipt]:
        """The inner rule's, and `adapter_updates`: how often each adapter was present."""
        counts = [self.findings[count] for count in self._counts]
        told = receipt(None, counts, "updates in which each adapter was present")
        return super().receipts(model) | {"adapter_updates": told}

    def _present(self) -> list[bool]:
        """Whether any gradient of the adapter is other than 0."""
        seen = [stack.grad.flatten(1).any(1) for stack in self._stacks if stack.grad is not None]
        return torch.stack(seen).any(0).tolist() if seen else [False] * len(self._counts)

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """The parts in the groups, for whatever looks at the state; then the stacks again."""
        for group, parts in zip(self.param_groups, self._parts, strict=True):
            group.update(parts)
        try:
            yield
        finally:
            for group, whole in zip(self.param_groups, self._whole, strict=True):
                group.update(whole)


def _listed(group: dict[str, Any]) -> dict[str, list[Any]]:
    return {key: list(group[key]) for key in ("params", "param_names") if key in group}


def _taken_apart(listed: dict[str, list[Any]], stacks: Stacks) -> dict[str, list[Any]]:
    """The same with the parts of each stack in its place, and their names."""
    params = listed["params"]
    apart: dict[str, list[Any]] = {"params": [part for p in params for part in stacks.get(p, [p])]}
    if "param_names" in listed:
        apart["param_names"] = [
            part_name
            for name, p in zip(listed["param_names"], params, strict=True)
            for part_name in ([f"{name}.{k}" for k in range(len(p))] if p in stacks else [name])
        ]
    return apart
