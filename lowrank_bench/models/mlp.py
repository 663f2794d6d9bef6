"""A multilayer perceptron spelt in plain linear layers."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch.nn.functional as F
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError


class MLP(nn.Module):
    """x (n, ...) flattened to (n, i); ReLU after each hidden layer; logits (n, k).

    Raises: ConfigError when a width is not a positive integer.
    """

    def __init__(self, in_shape: Sequence[int], hidden: Sequence[int], num_classes: int) -> None:
        super().__init__()
        for width in hidden:
            if not isinstance(width, int) or width < 1:
                raise ConfigError(f"model.hidden={list(hidden)}: widths must be positive integers")
        widths = [prod(in_shape), *hidden]
        self.hidden = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths))
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)  # (n, i)
        for layer in self.hidden:
            x = F.relu(layer(x))
        return self.head(x)  # (n, k)
