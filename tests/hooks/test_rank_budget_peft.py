"""The allocator against PEFT's, with the same parameters and gradients."""

from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from lowrank_bench.hooks.rank_budget import RankBudget
from lowrank_bench.layers.svd import SVDLinear
from lowrank_bench.optim.importance import parts

SHAPES = {"tall": (6, 10), "wide": (10, 6), "square": (7, 7)}
UPDATES, START, FINAL, INTERVAL = 40, 5, 9, 3
INITIAL, TARGET = 4, 2
THEIRS = {"P": "lora_B", "lam": "lora_E", "Q": "lora_A"}


def dense() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({name: nn.Linear(i, o) for name, (i, o) in SHAPES.items()})


class Net(nn.Module):
    """Something for PEFT to adapt; it is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = dense()

    def forward(self, x: Tensor) -> Tensor:
        return x


class Pair:
    """Our layers and PEFT's, of one start, each with its AdamW and its allocator."""

    def __init__(
        self,
        *,
        score_after_step: bool,
        random_lam: bool,
        weight_decay: float = 0,
        lr: float = 0.03,
    ) -> None:
        layers = {n: SVDLinear(m, INITIAL, 4, 0) for n, m in dense().items()}  # type: ignore[arg-type]
        self.layers = nn.ModuleDict(layers)
        config = peft.AdaLoraConfig(
            init_r=INITIAL,
            target_r=TARGET,
            tinit=START,
            tfinal=FINAL,
            deltaT=INTERVAL,
            total_step=UPDATES,
            target_modules=list(SHAPES),
            orth_reg_weight=0,
        )
        self.peft: Any = peft.get_peft_model(Net(), config)  # type: ignore[arg-type]
        named = dict(self.peft.named_parameters())
        self.pairs = [
            (f"{layer}.{own}", getattr(layers[layer], own), named[theirs])
            for layer in SHAPES
            for own, their in THEIRS.items()
            for theirs in [f"base_model.model.layers.{layer}.{their}.default"]
        ]
        with torch.no_grad():
            for name, ours, theirs in self.pairs:
                ours.normal_() if random_lam or not name.endswith("lam") else ours.zero_()
                theirs.copy_(ours.view_as(theirs))
        options: Any = {"lr": lr, "weight_decay": weight_decay}
        self.ours = AdamW(parts([*layers.values()]), **options)
        self.theirs = AdamW([theirs for _, _, theirs in self.pairs], **options)
        self.hook = RankBudget(TARGET, START, FINAL, INTERVAL, 0.85, 0.85, score_after_step)
        self.hook.plan(UPDATES, 0)

    def advance(self, update: int) -> None:
        generator = torch.Generator().manual_seed(update)
        for _, ours, theirs in self.pairs:
            ours.grad = torch.randn(ours.shape, generator=generator)
            theirs.grad = ours.grad.view_as(theirs).clone()
        self.hook.before_step(self.layers, self.ours, update)
        self.ours.step()
        self.hook.after_step(self.layers, self.ours, update)
        self.theirs.step()
        self.peft.base_model.update_and_allocate(update)

    def furthest(self) -> float:
        """The largest relative difference of a tensor."""
        with torch.no_grad():
            return max(
                float((ours - theirs.view_as(ours)).norm() / theirs.norm().clamp(min=1e-9))
                for _, ours, theirs in self.pairs
            )


@pytest.mark.reference
@pytest.mark.parametrize("random_lam", [False, True])
@pytest.mark.parametrize("weight_decay", [0, 0.1])
def test_scored_after_the_step_every_update_is_that_of_peft(
    weight_decay: float, random_lam: bool
) -> None:
    pair = Pair(weight_decay=weight_decay, score_after_step=True, random_lam=random_lam)
    pruned = 0
    for update in range(UPDATES):
        pair.advance(update)
        assert pair.furthest() <= 1e-5, update
        pruned = sum(int((p == 0).sum()) for n, p, _ in pair.pairs if n.endswith("lam"))
    assert pruned == 3 * (INITIAL - TARGET)


@pytest.mark.reference
def test_scored_of_one_update_another_pattern_is_kept() -> None:
    pair = Pair(score_after_step=False, random_lam=False, lr=0.5)
    for update in range(START + 1):  # until the first mask, nothing differs
        pair.advance(update)
        if not pair.hook.masks_at(update):
            assert pair.furthest() <= 1e-5
    for update in range(START + 1, UPDATES):
        pair.advance(update)
    assert pair.furthest() > 1e-2
    assert sum(layer.active_rank for layer in pair.layers.values()) == 3 * TARGET  # type: ignore[misc]


@pytest.mark.reference
def test_the_budget_of_every_update_is_that_of_peft() -> None:
    pair = Pair(score_after_step=True, random_lam=True)
    pair.advance(0)
    allocator = pair.peft.base_model.rankallocator
    for update in range(UPDATES):
        expected, masks = allocator.budget_schedule(update)
        assert pair.hook.budget(update) == expected
        if update != UPDATES - FINAL:  # where PEFT forces one
            assert pair.hook.masks_at(update) is masks
