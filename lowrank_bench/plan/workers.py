"""Planning many configs, one process a core."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from omegaconf import DictConfig

from lowrank_bench.errors import ConfigError

WORTH_IT = 3  # configs, below which processes cost more than they save
T = TypeVar("T")


def each(work: Callable[[DictConfig], T], configs: Sequence[DictConfig]) -> list[T]:
    """`work` done on each config, in their order.

    Raises: the first ConfigError among them.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = min(cores or 1, len(configs))
    if workers < 2 or len(configs) < WORTH_IT:
        found: list[Any] = [_told(work, cfg) for cfg in configs]
    else:  # forked before torch is imported, which two processes then do at once
        with multiprocessing.get_context("fork").Pool(workers) as pool:
            found = pool.starmap(_told, [(work, cfg) for cfg in configs], chunksize=1)
    for outcome in found:
        if isinstance(outcome, ConfigError):
            raise outcome
    return found


def _told(work: Callable[[DictConfig], T], cfg: DictConfig) -> T | ConfigError:
    """An error comes back as what it is: a pool would wrap it in the other process's traceback."""
    try:
        return work(cfg)
    except ConfigError as mistake:
        return ConfigError(str(mistake))
