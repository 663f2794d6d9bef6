"""LoRA-FA: A is frozen, and B learns by the gradient of the weight that it can reach."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lowrank_bench.errors import ConfigError
from lowrank_bench.optim.pairs import Stack, pairs_in, stacks, wide
from lowrank_bench.optim.wrapper import Wrapper, evaluated
from lowrank_bench.precision import uncast
from lowrank_bench.receipt import Receipt, receipt


class LoRAFA(Wrapper):
    """g_B <- s^-2 g_B (A A^T + delta I)^+, then the inner rule on B.

    A (r, n) frozen, B and g_B (m, r), s the scale of the layer. With g_B = s G A^T the step of B
    then moves the weight by s g_B A = G A^+ A: the gradient G, projected on the rows of A.

    Source: Zhang 2023, arXiv 2308.03303, as its second version and PEFT's LoraFAOptimizer have
    it; without this transform the method is that of the first version, which trains B plainly.
    Differs: the inverse is computed once an A instead of at every step, and in double
    precision, where PEFT multiplies in bfloat16. PEFT's inner rule is adamw_hf.
    Receipt `A_frozen`: the largest change of the sum over an A since the start; ok where 0.
    Raises: ConfigError when there is no pair, or when an A trains.
    """

    def __init__(
        self, inner: Optimizer, model: nn.Module, names: Iterable[str], seed: int, *, delta: float
    ) -> None:
        super().__init__(inner)
        pairs = pairs_in(model, names, "lora_fa")
        for pair in pairs:
            if pair.A.requires_grad:
                raise ConfigError(
                    f"method.transform=lora_fa: '{pair.name}.A' trains; LoRA-FA keeps A as it "
                    "was drawn: set method.trainable=['*.B']"
                )
        self.delta = delta
        self._pairs = pairs
        self._stacks: list[Stack] | None = None  # stacked at the first step, on its device
        self._inverses: dict[int, tuple[tuple[tuple[str, int], ...], Tensor]] = {}  # by stack
        self._began = _sums(pairs)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = evaluated(closure)
        if self._stacks is None:
            self._stacks = stacks(self._pairs)
        for index, stack in enumerate(self._stacks):
            live = stack.with_gradients("B")
            if live is not None:
                with uncast(live.scale.device):
                    right = self._inverse(index, live)
                    gradients = live.gradients("B")
                    live.put("B", gradients.to(right.dtype) @ right)
        self.inner.step()
        return loss

    def _inverse(self, index: int, stack: Stack) -> Tensor:
        """s^-2 (A A^T + delta I)^+ (k, r, r), anew only when an A was written to."""
        versions = tuple((pair.name, pair.A._version) for pair in stack.pairs)
        kept = self._inverses.get(index)
        if kept is None or kept[0] != versions:
            A = stack.A.to(wide(stack.scale))
            rank, dtype = A.shape[-2], torch.promote_types(stack.pairs[0].B.dtype, torch.float32)
            gram = A @ A.mT + self.delta * torch.eye(rank, dtype=A.dtype, device=A.device)
            noise = rank * torch.finfo(dtype).eps  # what the gradient's own rounding would fill
            inverse = torch.linalg.pinv(gram, rtol=noise, hermitian=True)
            kept = versions, (inverse / stack.scale.square()).to(dtype)
            self._inverses[index] = kept
        return kept[1]

    def receipts(self, model: nn.Module) -> dict[str, Receipt]:
        moves = [abs(now - then) for now, then in zip(_sums(self._pairs), self._began, strict=True)]
        moved = max(moves)
        return super().receipts(model) | {
            "A_frozen": receipt(moved == 0, moved, "" if moved == 0 else "a frozen A changed")
        }


@torch.no_grad()
def _sums(pairs: Iterable[Any]) -> list[float]:
    return [float(pair.A.cpu().double().sum()) for pair in pairs]
