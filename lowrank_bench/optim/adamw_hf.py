"""AdamW as Hugging Face's transformers once had it: the inner rule of GaLore, Fira and APOLLO."""

from collections.abc import Callable
from math import sqrt
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from lowrank_bench.errors import ConfigError
from lowrank_bench.optim.wrapper import evaluated

kernels: Any = torch  # whose stubs leave the foreach functions out


class AdamWHF(Optimizer):
    """p <- p - lr * f_t * m / (sqrt(v) + eps), then p <- p - lr * weight_decay * p.

    m and v are the running means of g and g^2, f_t = sqrt(1 - beta2^t) / (1 - beta1^t), or 1
    without `correct_bias`. It differs from `torch.optim.AdamW` twice: `eps` is added to the
    uncorrected sqrt(v), so that at t = 1 it weighs 31.6 times as much, and the decay comes last.

    Source: Loshchilov and Hutter 2019, arXiv 1711.05101, as in transformers 4's `AdamW`.
    Raises: ConfigError for a number outside its range.
    """

    decay: ClassVar[str] = "after"  # when weight decay acts, for transforms (see decay.py)

    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        correct_bias: bool = True,
    ) -> None:
        for key, value in {"lr": lr, "eps": eps, "weight_decay": weight_decay}.items():
            if not value >= 0:
                raise ConfigError(f"method.optimizer.{key}={value}: must not be negative")
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ConfigError(f"method.optimizer.betas={betas}: must be two numbers in [0, 1)")
        settings: dict[str, Any] = {"eps": eps, "weight_decay": weight_decay}
        settings |= {"correct_bias": correct_bias, "foreach": None}
        super().__init__(params, {"lr": lr, "betas": betas, **settings})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = evaluated(closure)
        for group in self.param_groups:
            held = [p for p in group["params"] if p.grad is not None]
            # One kernel over a list saves launches on a GPU; on a CPU, one parameter after the
            # other keeps its temporaries in the cache.
            at_once = group["foreach"]
            if at_once is None:
                at_once = bool(held) and held[0].is_cuda
            chunks = [held] if held and at_once else [[p] for p in held]
            for chunk in chunks:
                self._update(group, chunk)
        return loss

    def step_factor(self, group: dict[str, Any], state: dict[str, Any]) -> float:
        """f_t, by which the direction m / (sqrt(v) + eps) of the last step was multiplied."""
        if not group["correct_bias"]:
            return 1.0
        beta1, beta2 = group["betas"]
        t = state["step"].item()
        return sqrt(1 - beta2**t) / (1 - beta1**t)

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        states = [self._state_of(p) for p in params]
        grads = [p.grad for p in params if p.grad is not None]
        m = [state["exp_avg"] for state in states]
        v = [state["exp_avg_sq"] for state in states]
        lr, (beta1, beta2), decay = group["lr"], group["betas"], group["weight_decay"]
        kernels._foreach_add_([state["step"] for state in states], 1)
        kernels._foreach_mul_(m, beta1)
        kernels._foreach_add_(m, grads, alpha=1 - beta1)
        kernels._foreach_mul_(v, beta2)
        kernels._foreach_addcmul_(v, grads, grads, 1 - beta2)
        denominator = kernels._foreach_sqrt(v)
        kernels._foreach_add_(denominator, group["eps"])
        steps = [-lr * self.step_factor(group, state) for state in states]
        kernels._foreach_addcdiv_(params, m, denominator, steps)
        if decay:
            kernels._foreach_mul_(params, 1 - lr * decay)

    def _state_of(self, p: Tensor) -> dict[str, Any]:
        state = self.state[p]
        if not state:
            state["step"] = torch.zeros(())  # on the CPU: read at every step, without waiting
            state["exp_avg"] = torch.zeros_like(p)
            state["exp_avg_sq"] = torch.zeros_like(p)
        return state
