"""Batches from memory, a block of them at a time."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lowrank_bench.data.part import Part
from lowrank_bench.objectives.objective import Objective
from lowrank_bench.seeds import derive

LARGEST, LOGITS = 2000, 2**24  # of a batch in an evaluation

# x (n, ...), y (n, ...), size; then adapter ids (n,), if there are any
Block = tuple[Any, ...]


class BlockLoader:
    """Blocks of `block` consecutive batches, each fetched from memory in one go.

    A block is (x, y, size): the batches are `x.split(size)`. Where the examples belong to
    adapters it is (x, y, size, ids). Fetching many batches at once spreads the cost of indexing,
    conversion and Lightning's loop over all of them.

    The order is a function of (seed, epoch) alone. With several devices, each takes its own
    stride of every global batch, so the batches of a run do not depend on their number; `size`
    then is the number of targets in the global batch. With `limit`, an epoch is that many batches.
    """

    def __init__(
        self,
        split: Part,
        *,
        batch_size: int,
        block: int = 1,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        limit: int | None = None,
    ) -> None:
        self.split, self.batch_size, self.block = split, batch_size, block
        self.shuffle, self.seed = shuffle, seed
        self.rank, self.world_size = rank, world_size
        self.limit = limit
        self.epoch = 0  # set by the task when an epoch starts

    @property
    def num_batches(self) -> int:
        """Batches, that is optimizer updates, in an epoch."""
        there = -(-len(self.split) // self.batch_size)
        return there if self.limit is None else min(there, self.limit)

    def __len__(self) -> int:
        """Blocks in an epoch."""
        return -(-self.num_batches // self.block)

    def __iter__(self) -> Iterator[Block]:
        order = self._order()
        step = self.batch_size * self.block
        end = min(len(self.split), self.num_batches * self.batch_size)
        for start in range(0, end, step):
            stop = min(start + step, end)
            index = slice(start, stop) if order is None else order[start:stop]
            size = min(self.batch_size, stop - start)
            if self.world_size > 1:
                size = self.split.count(index)
                own = torch.arange(start, stop)[self.rank :: self.world_size]
                index = own if order is None else order[own]
            block = (*self.split.fetch(index), size)
            ids = self.split.fetch_ids(index)
            yield block if ids is None else (*block, ids)

    def _order(self) -> Tensor | None:
        """A permutation of the split, or None for the file's own order."""
        if not self.shuffle:
            return None
        generator = torch.Generator().manual_seed(derive(self.seed, "order", self.epoch))
        return torch.randperm(len(self.split), generator=generator)


def batches(
    block: Block, world_size: int
) -> Iterator[tuple[Tensor, Tensor, Tensor | None, int | None]]:
    """The batches of a block: x, y, adapter ids if any; with several devices, this one's part
    of one batch, and the number of targets in all of it.
    """
    x, y, size, *ids = block
    if world_size > 1:
        yield x, y, (ids[0] if ids else None), size
        return
    xs, ys = x.split(size), y.split(size)
    parts = ids[0].split(size) if ids else (None,) * len(xs)
    for batch_x, batch_y, batch_ids in zip(xs, ys, parts, strict=True):
        yield batch_x, batch_y, batch_ids, None


def eval_batch_size(said: int | str, part: Part, objective: Objective) -> int:
    """Examples in a batch of an evaluation: what was said, or as many as are still cheap to keep.

    "auto" is 2000, or fewer where their logits would be more than 2^24 (64 MiB in single
    precision), as those of long sequences over a large vocabulary are.
    """
    if isinstance(said, int):
        return said
    _, y = part.fetch(slice(0, 1))
    return max(1, min(LARGEST, LOGITS // objective.num_logits(y)))
