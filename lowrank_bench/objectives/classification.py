"""Cross-entropy over labels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lowrank_bench.errors import ConfigError
from lowrank_bench.objectives.objective import wide


class Classification:
    """Logits (n, k) against labels y (n,) in 0 .. k-1: `loss` (nats), `accuracy`."""

    def __init__(self, name: str, num_classes: int) -> None:
        self.name, self.num_classes = name, num_classes

    def count(self, y: Tensor) -> Tensor:
        return torch.tensor(len(y), device=y.device)

    def total(self, outputs: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(wide(outputs), y, reduction="sum")

    def mean(self, outputs: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(wide(outputs), y)

    def sums(self, outputs: Tensor, y: Tensor) -> Tensor:
        correct = (outputs.argmax(-1) == y).sum()
        total = self.total(outputs, y)
        return torch.tensor([float(total), float(correct), len(y)], dtype=torch.float64)

    def each(self, outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        predicted = outputs.argmax(-1)
        return {
            "loss": F.cross_entropy(wide(outputs), y, reduction="none"),
            "correct": predicted == y,
            "predicted": predicted,
        }

    def metrics(self, sums: Tensor) -> dict[str, float]:
        loss, correct, count = sums.tolist()
        return {"loss": loss / count, "accuracy": correct / count}

    def num_logits(self, y: Tensor) -> int:
        return y.numel() * self.num_classes

    def check_outputs(self, size: int) -> None:
        if size != self.num_classes:
            raise ConfigError(
                f"model.num_classes={size}: {self.name} has {self.num_classes} classes"
            )
