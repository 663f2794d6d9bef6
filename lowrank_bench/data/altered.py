"""The same images asked another way: some classes, turned, or with their pixels in disorder."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from lowrank_bench.data.arrays import Arrays
from lowrank_bench.errors import ConfigError


def altered(
    arrays: Arrays,
    *,
    classes: Sequence[int] | None,
    quarter_turns: int,
    permutation_seed: int | None,
) -> Arrays:
    """`arrays` with the labels `classes` alone, numbered anew from 0 in their order; each image
    turned counter-clockwise `quarter_turns` times; its pixels in one order for all, drawn by
    `permutation_seed`, channels kept together (permuted MNIST: Goodfellow 2013, arXiv 1312.6211).

    Raises: ConfigError for classes or turns that there are not.
    """
    if classes is not None:
        arrays = _only(arrays, classes)
    if quarter_turns not in (0, 1, 2, 3) or isinstance(quarter_turns, bool):
        raise ConfigError(f"data.quarter_turns={quarter_turns}: must be 0, 1, 2 or 3")
    if quarter_turns:
        arrays = _with_x(arrays, lambda x: np.rot90(x, quarter_turns, axes=(2, 3)))
    if permutation_seed is not None:
        if not isinstance(permutation_seed, int) or permutation_seed < 0:
            raise ConfigError(f"data.permutation_seed={permutation_seed}: must be 0 or more")
        pixels = arrays.train_x.shape[2] * arrays.train_x.shape[3]
        order = np.random.default_rng(permutation_seed).permutation(pixels)
        arrays = _with_x(
            arrays, lambda x: x.reshape(*x.shape[:2], pixels)[..., order].reshape(x.shape)
        )
    return arrays


def _only(arrays: Arrays, classes: Sequence[int]) -> Arrays:
    there = set(np.unique(arrays.train_y).tolist())
    if len(set(classes)) != len(classes) or len(classes) < 2 or not set(classes) <= there:
        raise ConfigError(
            f"data.classes={list(classes)}: must be two or more different ones of {sorted(there)}"
        )
    number = np.full(max(there) + 1, -1)
    number[list(classes)] = np.arange(len(classes))

    def kept(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        chosen = number[y] >= 0
        return x[chosen], number[y[chosen]].astype(np.int64)

    train_x, train_y = kept(arrays.train_x, arrays.train_y)
    if arrays.test_x is None or arrays.test_y is None:
        return Arrays(train_x, train_y)
    return Arrays(train_x, train_y, *kept(arrays.test_x, arrays.test_y))


def _with_x(arrays: Arrays, change: Callable[[np.ndarray], np.ndarray]) -> Arrays:
    test_x = None if arrays.test_x is None else np.ascontiguousarray(change(arrays.test_x))
    return replace(arrays, train_x=np.ascontiguousarray(change(arrays.train_x)), test_x=test_x)
