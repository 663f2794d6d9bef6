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

    The turn comes before the disorder. An image that is not square has another shape after one
    turn or three.
    Raises: ConfigError for classes, turns or a seed that there are not.
    """
    if classes is not None:
        arrays = _only(arrays, classes)
    if quarter_turns not in (0, 1, 2, 3) or isinstance(quarter_turns, bool):
        raise ConfigError(f"data.quarter_turns={quarter_turns}: must be 0, 1, 2 or 3")
    if quarter_turns:
        arrays = _with_x(arrays, lambda x: np.rot90(x, quarter_turns, axes=(2, 3)))
    if permutation_seed is not None:
        is_whole = isinstance(permutation_seed, int) and not isinstance(permutation_seed, bool)
        if not is_whole or permutation_seed < 0:
            raise ConfigError(f"data.permutation_seed={permutation_seed}: must be 0 or more")
        pixels = arrays.train_x.shape[2] * arrays.train_x.shape[3]
        order = np.random.default_rng(permutation_seed).permutation(pixels)
        arrays = _with_x(
            arrays, lambda x: x.reshape(*x.shape[:2], pixels)[..., order].reshape(x.shape)
        )
    return arrays


def _only(arrays: Arrays, classes: Sequence[int]) -> Arrays:
    labels = arrays.train_y if arrays.test_y is None else np.r_[arrays.train_y, arrays.test_y]
    there = set(np.unique(arrays.train_y).tolist())
    is_list = isinstance(classes, Sequence) and not isinstance(classes, str)
    if not is_list or len({*classes}) != len(classes) or len(classes) < 2 or {*classes} - there:
        raise ConfigError(
            f"data.classes={list(classes) if is_list else classes}: must be a list of two or more "
            f"different ones of {sorted(there)}"
        )
    number = np.full(labels.max() + 1, -1)
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
