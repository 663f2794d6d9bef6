"""A batch as the data would give it, without values and without the data."""

from typing import NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor

from lowrank_bench.errors import ConfigError
from lowrank_bench.objectives.causal_lm import CausalLM
from lowrank_bench.objectives.classification import Classification
from lowrank_bench.objectives.objective import Objective


class Batch(NamedTuple):
    """Inputs and targets on the device `meta`, and what is minimised over them."""

    x: Tensor  # images (n, c, h, w) float32, or token ids (n, t) int64
    y: Tensor  # labels (n) int64, or tokens (n, t) int64
    objective: Objective
    adapters: Tensor | None  # (n) int64, where the data has a bank of adapters

    @property
    def tokens(self) -> int | None:
        """How many the batch has; None for images."""
        return self.x.numel() if self.x.dtype is torch.int64 else None


def batch_of(data: DictConfig, size: int) -> Batch:
    """`size` examples of what the node `data` describes.

    Images are told by `shape` and `num_classes`, texts by `length`, and by `num_classes` where
    they are to be told apart.
    Raises: ConfigError for a node that says neither, or a size that is none.
    """
    name, classes = str(data.get("name")), data.get("num_classes")
    labels = torch.zeros(size, dtype=torch.int64, device="meta")
    adapters = torch.zeros_like(labels) if data.get("adapters") else None
    if data.get("shape") is not None:
        x = torch.zeros(size, *data.shape, device="meta")
        return Batch(x, labels, Classification(name, classes), adapters)
    if data.get("length") is None:
        raise ConfigError(
            f"data={name}: its YAML has neither `shape` nor `length`, so what a batch is cannot be "
            "told without it; for tokens data=random_tokens will do"
        )
    vocab = data.get("vocab_size") or 0
    tokens = torch.zeros(size, data.length, dtype=torch.int64, device="meta")
    if classes is not None:
        return Batch(tokens, labels, Classification(name, classes), adapters)
    return Batch(tokens, torch.zeros_like(tokens), CausalLM(name, vocab, 1.0), adapters)
