"""Planning many configs, one process a core."""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from omegaconf import DictConfig

from lowrank_bench.errors import ConfigError

WORTH_IT = 3  # configs, below which processes cost more than they save
T = TypeVar("T")


def each(work: Callable[[DictConfig], T], configs: Sequence[DictConfig]) -> list[T]:
    """`work` done on each config, in their order.

    Raises: the first ConfigError among them; whatever else a config ran into is one too.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = min(cores or 1, len(configs))
    if workers < 2 or len(configs) < WORTH_IT:
        found: list[Any] = [_told(work, cfg) for cfg in configs]
    else:  # forked before torch is imported, which two processes then do at once
        with multiprocessing.get_context("fork").Pool(workers, _leave_to_the_parent) as pool:
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
    except Exception as error:  # somebody's own layer or optimizer, which asks for values
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return ConfigError(
            f"method={cfg.method.name}: cannot be planned: {what} ({place.filename}:{place.lineno})"
        )


def _leave_to_the_parent() -> None:
    """Ctrl-C reaches every process; one of them says so and ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
