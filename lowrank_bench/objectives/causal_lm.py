"""Cross-entropy over next tokens."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lowrank_bench.errors import ConfigError
from lowrank_bench.objectives.objective import wide

IGNORED = -100  # a target that no loss term is for


class CausalLM:
    """Logits (n, t, v) at positions whose next tokens are y (n, t), -100 where none counts.

    `loss` in nats a token, `perplexity` = exp(loss), `bits_per_byte` = loss / ln 2 over the mean
    number of bytes in a token, which unlike the others compares models with different
    tokenizers, and `accuracy`, the share of tokens that came first.
    """

    def __init__(self, name: str, vocab_size: int, bytes_per_token: float) -> None:
        self.name, self.vocab_size, self.bytes_per_token = name, vocab_size, bytes_per_token

    def count(self, y: Tensor) -> Tensor:
        return (y != IGNORED).sum()

    def total(self, outputs: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(wide(outputs).flatten(0, 1), y.flatten(), reduction="sum")

    def mean(self, outputs: Tensor, y: Tensor) -> Tensor:
        return self.total(outputs, y) / self.count(y).clamp(min=1)

    def sums(self, outputs: Tensor, y: Tensor) -> Tensor:
        correct = (outputs.argmax(-1) == y).sum()
        total = self.total(outputs, y)
        return torch.tensor(
            [float(total), float(correct), float(self.count(y))], dtype=torch.float64
        )

    def each(self, outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        losses = F.cross_entropy(wide(outputs).flatten(0, 1), y.flatten(), reduction="none")
        targets = (y != IGNORED).sum(-1)
        correct = (outputs.argmax(-1) == y).sum(-1)
        return {
            "loss": losses.view_as(y).sum(-1) / targets.clamp(min=1),
            "correct": correct / targets.clamp(min=1),
            "targets": targets,
        }

    def metrics(self, sums: Tensor) -> dict[str, float]:
        total, correct, count = sums.tolist()
        loss = total / count
        return {
            "loss": loss,
            "perplexity": math.exp(min(loss, 700.0)),  # beyond that, a float has no room for it
            "bits_per_byte": loss / math.log(2) / self.bytes_per_token,
            "accuracy": correct / count,
        }

    def num_logits(self, y: Tensor) -> int:
        return y.numel() * self.vocab_size

    def check_outputs(self, size: int) -> None:
        if size < self.vocab_size:
            raise ConfigError(
                f"data.tokenizer: {self.name} has tokens up to {self.vocab_size - 1}, the model "
                f"knows {size}; choose the model's own tokenizer"
            )
