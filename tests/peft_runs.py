"""A small network, adapted by a tuner of PEFT and trained update by update."""

from io import BytesIO
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowrank_bench import load_method
from lowrank_bench.method import Method
from lowrank_bench.peft_bridge.tuners import all_tuners

NAMES = ["0", "2", "4"]
ADAPT = "method.adapter.config"
# What a tuner needs on layers as narrow as these, or to begin as its base.
NEEDS: dict[str, dict[str, Any]] = {
    "C3AConfig": {"block_size": 2, "init_weights": True},
    "FourierFTConfig": {"n_frequency": 20, "init_weights": True},
    "RoadConfig": {"group_size": 2},
    "SupertuningConfig": {"sparsity": 0.5},
    "VBLoRAConfig": {"vector_length": 2, "num_vectors": 16},
    "WaveFTConfig": {"n_frequency": 20},
}
MOVES_THE_START = ("UniLoraConfig", "VBLoRAConfig")
NOT_LINEAR = ("LilyConfig",)
ACT = [name for name, reason in all_tuners() if reason is None]
DO_NOT = [name for name, reason in all_tuners() if reason is not None]


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4)
    )


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(32, 8, generator=generator), torch.arange(32) % 4


def bridged(name: str, *more: str, seed: int = 0) -> Method:
    """`method=peft` with a config class and its fields, as the command line has it."""
    fields = [f"+{ADAPT}.{key}={value}" for key, value in NEEDS.get(name, {}).items()]
    same = [f"method.adapter.same_start={str(name not in MOVES_THE_START).lower()}"]
    overrides = [f"{ADAPT}._target_=peft.{name}", "rank=2", "lr=0.01", *fields, *same, *more]
    return load_method("peft", overrides, seed=seed)


class Run:
    """A method on a small network, update by update."""

    def __init__(self, method: Method, num_updates: int) -> None:
        self.method, self.update = method, 0
        self.model = method.apply(net())
        self.optimizer = method.optimizer(self.model)
        self.schedule = method.schedule(self.optimizer, num_updates)

    def advance(self, updates: int) -> "Run":
        x, y = batch()
        for _ in range(updates):
            torch.manual_seed(self.update)  # PVeRA draws in training, as dropout does
            self.optimizer.zero_grad()
            (F.cross_entropy(self.model(x), y) + self.method.penalty(self.model)).backward()
            self.method.hooks.before_step(self.model, self.optimizer, self.update)
            self.optimizer.step()
            self.schedule.step()
            self.method.hooks.after_step(self.model, self.optimizer, self.update)
            self.method.hooks.step_end(self.model, self.optimizer, self.update)
            self.update += 1
        return self

    def state(self) -> dict[str, Any]:
        """Through a file, as a checkpoint goes."""
        file = BytesIO()
        torch.save(
            {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}, file
        )
        file.seek(0)
        return torch.load(file, weights_only=True)

    def resume(self, state: dict[str, Any], update: int) -> "Run":
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.update = update
        return self
