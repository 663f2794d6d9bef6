"""LoRA-Pro: factors move so that their product follows the gradient of the weight."""

from collections.abc import Callable, Iterable, Sequence
from math import sqrt
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from lowrank_bench.errors import ConfigError
from lowrank_bench.optim.pairs import Stack, pairs_in, stacks
from lowrank_bench.optim.sylvester import Grams
from lowrank_bench.optim.wrapper import Wrapper, evaluated, innermost
from lowrank_bench.precision import uncast
from lowrank_bench.receipt import Receipt, receipt


class LoRAPro(Wrapper):
    """Adjusts (g_A, g_B) of each pair (see sylvester.py); the inner SGD then steps.

    A (r, n), B (m, r), scale s, G (m, n) the gradient of the weight. The equivalent gradient
    g~ = s (B gh_A + gh_B A) = P_B G + (I - P_B) G P_A is the best that the factors can follow.

    - moments "none": adjust, and nothing else.
    - moments "adam": keep Adam's moments of g~, 2 m n elements a pair, take the direction
      d = m^ / (sqrt(v^) + eps), project it, g_A' = s B^T d and g_B' = s d A^T, and adjust those.
      Whatever else trains gets Adam's direction too, so that one `lr` means one thing; it is an
      Adam's learning rate, though the rule that steps is SGD.

    Source: Wang 2024, theorems 2.1 to 2.3 and algorithm 1, arXiv 2407.18242; "adam" is the full
    version of github.com/mrflogs/LoRA-Pro.
    Differs: the reference counts one update too many in the correction of bias (`bias_offset`
    does that; its first step is 0.744 of Adam's), fixes s at 16/8, adds `delta` also to a B of
    zero, and pairs factors by their order.
    Receipt `descent`: the smallest cosine between (g_A, g_B), or (g_A', g_B'), and what they
    became, since training began or was resumed; ok where not negative.
    Raises: ConfigError when the inner rule is not SGD, or a pair does not train whole.
    """

    def __init__(
        self,
        inner: Optimizer,
        model: nn.Module,
        names: Iterable[str],
        seed: int,
        *,
        moments: Literal["adam", "none"],
        betas: Sequence[float],
        eps: float,
        delta: float,
        bias_offset: bool,
    ) -> None:
        super().__init__(inner)
        rule = type(innermost(inner)).__name__
        if not isinstance(innermost(inner), SGD):
            raise ConfigError(
                f"method.transform=lora_pro: brings its own moments and cannot stand around "
                f"method.optimizer={rule}; choose method/optimizer=sgd"
            )
        if moments not in ("adam", "none"):
            raise ConfigError(f"method.transform.moments={moments}: must be adam or none")
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ConfigError(f"method.transform.betas={betas}: must be two numbers in [0, 1)")
        self._pairs = pairs_in(model, names, "lora_pro")
        for pair in self._pairs:
            if not pair.A.requires_grad:
                raise ConfigError(
                    f"method.transform=lora_pro: '{pair.name}.A' is frozen, and both factors "
                    "must train; for a frozen A choose method/transform=lora_fa"
                )
        self.moments, self.delta = moments, delta
        self._adam = {"betas": tuple(betas), "eps": eps, "offset": int(bias_offset)}
        self._paired = {id(factor) for pair in self._pairs for factor in (pair.A, pair.B)}
        self._stacks: list[Stack] | None = None  # stacked at the first step, on its device
        self.findings["cosine"] = torch.ones(())  # the smallest so far

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = evaluated(closure)
        if self._stacks is None:
            self._stacks = stacks(self._pairs)
        for stack in self._stacks:
            live = stack.with_gradients("A", "B")
            if live is not None:
                with uncast(live.scale.device):
                    self._adjust(live)
        if self.moments == "adam":
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None and id(p) not in self._paired:
                        _direct(p.grad, self.state[p], p, **self._adam)
        self.inner.step()
        return loss

    def _adjust(self, stack: Stack) -> None:
        grams = Grams(stack.A, stack.B, stack.scale, self.delta)
        g_A, g_B = stack.gradients("A"), stack.gradients("B")
        if self.moments == "adam":
            equivalent = grams.equivalent(g_A, g_B)
            for pair, g in zip(stack.pairs, equivalent, strict=True):
                _direct(g, self.state[pair.B], pair.B, **self._adam)
            g_A, g_B = grams.of_factors(equivalent)
        gh_A, gh_B = grams.adjusted(g_A, g_B)
        stack.put("A", gh_A)
        stack.put("B", gh_B)
        cosine = _cosine((g_A, g_B), (gh_A, gh_B)).min()
        self.findings["cosine"] = torch.minimum(self.findings["cosine"].to(cosine), cosine)

    def receipts(self, model: nn.Module) -> dict[str, Receipt]:
        told = super().receipts(model)
        cosine = float(self.findings["cosine"])
        note = "" if cosine >= 0 else "an adjusted gradient pointed uphill, or nowhere"
        return told | {"descent": receipt(cosine >= 0, cosine, note)}


def _direct(
    gradient: Tensor,
    state: dict[str, Any],
    p: Tensor,
    *,
    betas: tuple[float, float],
    eps: float,
    offset: int,
) -> None:
    """Turn the gradient into Adam's m^ / (sqrt(v^) + eps), in place; the moments have its shape."""
    g = gradient.to(p.dtype)  # as a checkpoint would cast the moments
    if "exp_avg" not in state:
        state["step"] = torch.zeros(())  # on the CPU: read at every step, without waiting
        state["exp_avg"] = torch.zeros_like(g)
        state["exp_avg_sq"] = torch.zeros_like(g)
    state["step"] += 1
    beta1, beta2 = betas
    t = int(state["step"]) + offset
    m = state["exp_avg"].lerp_(g, 1 - beta1)
    v = state["exp_avg_sq"].mul_(beta2).addcmul_(g, g, value=1 - beta2)
    unbias = 1 - beta1**t
    denominator = v.sqrt().mul_(unbias / sqrt(1 - beta2**t)).add_(eps * unbias)
    gradient.copy_(m).div_(denominator)


def _cosine(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """(k), between two gradients of a stack; 1 for one of zero."""

    def dot(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
        a, b = (
            torch.linalg.vecdot(x.flatten(-2).to(y), y.flatten(-2))
            for x, y in zip(left, right, strict=True)
        )
        return a + b

    size = (dot(one, one) * dot(other, other)).sqrt()
    return torch.where(size == 0, 1, dot(one, other) / size)  # NaN stays, and fails
