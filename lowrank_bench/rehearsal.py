"""Everything that a run builds, built once before the first run trains."""

import traceback
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from omegaconf import DictConfig

from lowrank_bench import run  # noqa: F401  # with all that it imports, for every run to inherit
from lowrank_bench.base import of_the_base
from lowrank_bench.data.loader import BlockLoader
from lowrank_bench.errors import ConfigError
from lowrank_bench.isolate import Tell
from lowrank_bench.job import Job
from lowrank_bench.loggers.closable import require
from lowrank_bench.loggers.keys import resolve
from lowrank_bench.models.compiling import check_compiler
from lowrank_bench.prepare import prepare

OPTIONAL_LOGGERS = ("tensorboard", "trackio")


def try_all(jobs: Sequence[Job], tell: Tell) -> int:
    """Build each job, and tell what is wrong with the first that cannot be built.

    Meant for a process that is thrown away: it may look at devices, which the parent of forked
    runs must not.
    """
    torch.set_num_threads(1)
    compilers: set[str] = set()  # devices that torch.compile was seen to work for
    for job in jobs:
        cfg = job.cfg
        try:
            with nullcontext() if job.dependent is None else of_the_base():
                _try(cfg)
            if cfg.run.compile and (device := _device(cfg)) not in compilers:
                check_compiler(device)
                compilers.add(device)
        except ConfigError as error:
            tell(str(error))
            return 0
        except Exception as error:  # somebody's own layer, init or data
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{place.filename}:{place.lineno}"
            what = " ".join(f"{type(error).__name__}: {error}".split())
            tell(f"method={cfg.method.name}: cannot be built: {what} ({where})")
            return 0
    return 0


def _try(cfg: DictConfig) -> None:
    _check_devices(cfg)
    _check_logger(cfg)
    data, model, method, *_ = prepare(cfg)
    loader = BlockLoader(
        data.train, batch_size=cfg.budget.batch_size, limit=cfg.budget.updates_per_epoch
    )
    method.schedule(method.optimizer(model), loader.num_batches * cfg.budget.epochs)


def _device(cfg: DictConfig) -> str:
    """Where the run would compute."""
    wanted = cfg.run.accelerator
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return "cuda" if wanted == "gpu" else wanted


def _check_devices(cfg: DictConfig) -> None:
    wanted, there = cfg.run.devices, None
    if cfg.run.accelerator in ("gpu", "cuda"):
        there = torch.cuda.device_count()
    elif cfg.run.accelerator == "mps":
        there = int(torch.backends.mps.is_available())
    if there is not None and there < wanted:
        raise ConfigError(
            f"run.accelerator={cfg.run.accelerator}: {wanted} wanted, {there} found; cpu is there"
        )


def _check_logger(cfg: DictConfig) -> None:
    logger = cfg.get("logger") or {}
    if "mode" in logger:
        resolve(logger["mode"])
    for package in OPTIONAL_LOGGERS:
        if package in logger.get("_target_", ""):
            require(package)
