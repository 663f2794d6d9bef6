"""Composed configs, and a training that takes a moment."""

import sys
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from omegaconf import DictConfig, OmegaConf

from lowrank_bench.config_dir import config_dir


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Work as small as that of tests is faster without threads that wait for each other."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@cache
def _composed(choices: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(version_base="1.3", config_dir=str(config_dir())):
        return compose("train", list(choices))


@pytest.fixture
def composed() -> Callable[..., DictConfig]:
    """`composed("method=full", "lr=1")` is the config of that command line.

    Composing takes Hydra a quarter of a second, so each set of choices is composed once; plain
    values are then set on a copy, as Hydra does it last.
    """

    def make(*overrides: str) -> DictConfig:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        values = [each for each in parsed if not (config_dir() / each.key_or_group).is_dir()]
        choices = tuple(each.input_line or "" for each in parsed if each not in values)
        cfg = deepcopy(_composed(choices))
        for each in values:
            assert each.type is OverrideType.CHANGE, f"{each.input_line}: compose this by hand"
            OmegaConf.update(cfg, each.key_or_group, each.value())
        return cfg

    return make


@pytest.fixture
def fit(composed: Callable[..., DictConfig], tmp_path: Path) -> Callable[..., Any]:
    """Train a narrow network on the digits for two epochs of 20 updates, the last batch ragged.

    `fit("method=lora", block=16, penalty=...)` takes overrides of the config, the updates in a
    block, and slots of the method to replace. With run.compile=true, `backend` compiles. It
    returns the task and the rows that it logged.
    """
    import lightning as L

    from lowrank_bench.data.loader import BlockLoader
    from lowrank_bench.loggers.jsonl import JsonlLogger, read_rows
    from lowrank_bench.method import Method
    from lowrank_bench.prepare import prepare
    from lowrank_bench.task import Task

    small = ("model.hidden=[16,16]", "rank=4", "epochs=2")

    def train(
        *overrides: str,
        block: int = 16,
        log_every: int = 20,
        plugins: Any = None,
        backend: str = "aot_eager",
        **slots: Any,
    ) -> tuple[Task, list[dict[str, Any]]]:
        cfg = composed(*small, *overrides)
        data, model, method, source, _ = prepare(cfg)
        assert data.val is not None
        if cfg.run.compile:
            model.compile(backend=backend)
        loader = BlockLoader(
            data.train,
            batch_size=cfg.budget.batch_size,
            block=block,
            shuffle=cfg.budget.shuffle,
            seed=cfg.seed,
            limit=cfg.budget.updates_per_epoch,
        )
        watched = {"val": data.val} | ({} if source is None else {"source": source.data.test})
        task = Task(
            model,
            Method(seed=method.seed, **(vars(method.slots) | slots)),
            data.objective,
            num_updates=loader.num_batches * cfg.budget.epochs,
            seed=cfg.seed,
            eval_names=list(watched),
            log_every=log_every,
            accumulate=cfg.run.accumulate,
            clip_norm=cfg.budget.clip_norm,
            source=source,
        )
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        trainer = L.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=cfg.budget.epochs,
            precision=None if plugins else cfg.precision,
            plugins=plugins,
            logger=JsonlLogger(path),
            default_root_dir=tmp_path,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=1,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
        asked = [BlockLoader(p, batch_size=1000) for p in watched.values() if p is not None]
        trainer.fit(task, loader, asked)
        return task, read_rows(path)

    return train
