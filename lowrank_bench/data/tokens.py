"""Examples made of tokens. Padding is -1 in x, -100 in y, and always on the right."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lowrank_bench.objectives.causal_lm import IGNORED

PADDING = -1


@dataclass(frozen=True, eq=False)
class TokenPart:
    """Windows of one long sequence, mapped into memory: x a window, y what follows each token.

    Window i is stream[i*t : (i+1)*t + 1], of which x is all but the last token and y all but the
    first, so that each token of the sequence is predicted once.
    """

    windows: np.ndarray  # (n, t + 1), neighbours overlap by one token
    adapters: int | None = None  # example i belongs to adapter i mod adapters

    def __len__(self) -> int:
        return len(self.windows)

    def fetch(self, index: slice | Tensor) -> tuple[Tensor, Tensor]:
        """x (n, t) and y (n, t) int64, copies in memory."""
        rows = torch.from_numpy(self.windows[_numpy(index)].astype(np.int64))  # (n, t + 1)
        dense = {"memory_format": torch.contiguous_format}
        return rows[:, :-1].clone(**dense), rows[:, 1:].clone(**dense)

    def count(self, index: slice | Tensor) -> int:
        """The tokens to predict at `index`: every one of its windows."""
        return len(_numbers(index, len(self))) * (self.windows.shape[1] - 1)

    def fetch_ids(self, index: slice | Tensor) -> Tensor | None:
        """The adapter ids at `index`; None where the examples have none."""
        return _ids(index, len(self), self.adapters)


@dataclass(frozen=True, eq=False)
class ResponsePart:
    """Prompts with responses, of which the responses alone are to be predicted.

    Of an example s_0 .. s_{k-1}, the first p tokens its prompt, x is s_0 .. s_{k-2} and y is
    s_1 .. s_{k-1} with -100 in place of s_1 .. s_{p-1}: the last token of the prompt predicts
    the first of the response. Both are padded to `length`.
    """

    stream: np.ndarray  # (t,)
    starts: np.ndarray  # (n,)
    prompts: np.ndarray  # (n,) tokens of each prompt, p
    lengths: np.ndarray  # (n,) tokens of each example, k, at most length + 1
    length: int
    adapters: int | None = None

    def __len__(self) -> int:
        return len(self.starts)

    def fetch(self, index: slice | Tensor) -> tuple[Tensor, Tensor]:
        """x (n, t) and y (n, t) int64."""
        at = _numpy(index)
        k, p = self.lengths[at], self.prompts[at]
        tokens = _gather(self.stream, self.starts[at], k, self.length + 1)  # (n, t + 1)
        place = np.arange(self.length + 1)
        x = np.where(place[:-1] < k[:, None] - 1, tokens[:, :-1], PADDING)
        is_target = (place[1:] < k[:, None]) & (place[1:] >= p[:, None])
        y = np.where(is_target, tokens[:, 1:], IGNORED)
        return torch.from_numpy(x), torch.from_numpy(y)

    def count(self, index: slice | Tensor) -> int:
        """The tokens of the responses at `index`, but one that nothing stands before."""
        at = _numpy(index)
        return int((self.lengths[at] - np.maximum(self.prompts[at], 1)).sum())

    def fetch_ids(self, index: slice | Tensor) -> Tensor | None:
        """The adapter ids at `index`; None where the examples have none."""
        return _ids(index, len(self), self.adapters)


@dataclass(frozen=True, eq=False)
class LabelledPart:
    """Texts with a label each; x is padded to `length`."""

    stream: np.ndarray  # (t,)
    starts: np.ndarray  # (n,)
    lengths: np.ndarray  # (n,) tokens of each text, at most `length`
    labels: np.ndarray  # (n,)
    length: int
    adapters: int | None = None

    def __len__(self) -> int:
        return len(self.starts)

    def fetch(self, index: slice | Tensor) -> tuple[Tensor, Tensor]:
        """x (n, t) and labels y (n,), both int64."""
        at = _numpy(index)
        x = _gather(self.stream, self.starts[at], self.lengths[at], self.length)
        return torch.from_numpy(x), torch.from_numpy(self.labels[at].astype(np.int64))

    def count(self, index: slice | Tensor) -> int:
        """The number of labels at `index`."""
        return len(_numbers(index, len(self)))

    def fetch_ids(self, index: slice | Tensor) -> Tensor | None:
        """The adapter ids at `index`; None where the examples have none."""
        return _ids(index, len(self), self.adapters)


def windows_of(stream: np.ndarray, length: int) -> np.ndarray:
    """All whole windows (n, length + 1) of `stream` (t,), a view; there is at least one.

    What is left at the end, less than a window, is not used.
    """
    return np.lib.stride_tricks.sliding_window_view(stream, length + 1)[::length]


def _gather(stream: np.ndarray, starts: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray:
    """stream[start : start + length] of each example, padded to (n, width) int64."""
    place = np.arange(width)
    inside = place < lengths[:, None]  # (n, width)
    tokens = np.full(inside.shape, PADDING, np.int64)
    tokens[inside] = stream[(starts[:, None] + place)[inside]]
    return tokens


def _numbers(index: slice | Tensor, count: int) -> range | Tensor:
    return range(*index.indices(count)) if isinstance(index, slice) else index


def _numpy(index: slice | Tensor) -> slice | np.ndarray:
    return index if isinstance(index, slice) else index.numpy(force=True)


def _ids(index: slice | Tensor, count: int, adapters: int | None) -> Tensor | None:
    if adapters is None:
        return None
    numbers = _numbers(index, count)
    return torch.as_tensor(numbers) % adapters
