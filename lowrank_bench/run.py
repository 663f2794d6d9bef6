"""One run, from config to record, top to bottom."""

import logging
import os
import signal
import warnings
from pathlib import Path

import lightning as L
import torch
from omegaconf import DictConfig

from lowrank_bench.base import has_base
from lowrank_bench.build import build
from lowrank_bench.callbacks.changes import Changes
from lowrank_bench.callbacks.checkpoints import Checkpoints, checkpoints_away, resumable
from lowrank_bench.callbacks.cost import Cost
from lowrank_bench.callbacks.progress import Progress, UpdateBar
from lowrank_bench.callbacks.receipts import Receipts
from lowrank_bench.checks import block_size
from lowrank_bench.data.loader import BlockLoader, eval_batch_size
from lowrank_bench.data.part import Part
from lowrank_bench.ending import EXIT_CODES, interrupt, status_of
from lowrank_bench.head import Head
from lowrank_bench.isolate import Tell
from lowrank_bench.loggers import adverts, jsonl
from lowrank_bench.loggers.closable import Closable
from lowrank_bench.loggers.jsonl import JsonlLogger
from lowrank_bench.loggers.keys import UNREACHABLE
from lowrank_bench.loggers.rows import cut_back
from lowrank_bench.objectives.objective import Objective
from lowrank_bench.prepare import prepare
from lowrank_bench.record import LAST, RunRecord
from lowrank_bench.retention import SOURCE
from lowrank_bench.roles import count_by_role
from lowrank_bench.selection import read_back, test_selected
from lowrank_bench.task import Task
from lowrank_bench.weights import base_checksum, load_base


def run(
    cfg: DictConfig,
    record: RunRecord,
    folder: Path,
    tell: Tell,
    *,
    alone: bool,
    base: Path | None = None,
) -> int:
    """Train what `record` names, in `folder`, and leave the record there whatever happens.

    Meant for a process of its own. `base` is the checkpoint to begin with, if any. `tell` hears
    of the progress, unless the run is `alone` and shows its own bar. Returns the exit code.
    """
    signal.signal(signal.SIGINT, interrupt)
    torch.set_num_threads(cfg.run.threads)
    _quiet()
    loggers: list[Closable] = []
    try:
        _train(cfg, record, folder, base, UpdateBar() if alone else Progress(tell), loggers)
        record.status = "finished"
    except BaseException as error:
        record.status = status_of(error)
        record.error = {"type": type(error).__name__, "message": str(error)}
        if record.status == "failed":
            logging.exception("the run failed")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the record is yet to be written
    if _rank() == 0:
        record.write(folder)
        if record.is_result and not cfg.run.keep_checkpoint:
            checkpoints_away(folder)
    for logger in loggers:  # after the record, since an upload may take its time
        logger.close(record)
        if getattr(logger, "fell_back", False):
            tell(UNREACHABLE)
    return EXIT_CODES.get(record.status, 1)


def _train(
    cfg: DictConfig,
    record: RunRecord,
    folder: Path,
    base: Path | None,
    progress: L.Callback,
    loggers: list[Closable],
) -> None:
    changes = _changes(cfg)
    data, model, method, source, plain = prepare(
        cfg, None if base is None else load_base(base), *(each.meet_base for each in changes)
    )
    record.params = {
        "total": sum(p.numel() for p in model.parameters()),
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "by_role": count_by_role(model),
        "targets": method.targets,
    }
    if plain:
        record.base["weights_checksum"] = base_checksum(plain, Head.of(cfg.model, cfg.base))
    share = {"rank": _rank(), "world_size": cfg.run.devices}
    train_loader = BlockLoader(
        data.train,
        batch_size=cfg.budget.batch_size,
        block=block_size(cfg),
        shuffle=cfg.budget.shuffle,
        seed=cfg.seed,
        limit=cfg.budget.updates_per_epoch,
        **share,
    )

    def to_ask(part: Part, objective: Objective) -> BlockLoader:
        size = eval_batch_size(cfg.run.eval_batch_size, part, objective)
        return BlockLoader(part, batch_size=size, **share)

    watched = {"val": data.val} | ({"test": data.test} if cfg.budget.test_every_epoch else {})
    eval_loaders = {name: to_ask(p, data.objective) for name, p in watched.items() if p is not None}
    if source is not None:  # its own test part, which selects nothing here
        part = source.data.test or source.data.val or source.data.train
        eval_loaders[SOURCE] = to_ask(part, source.objective)
    receipts = Receipts(model)
    cost = Cost(folder / LAST, is_compiled=cfg.run.compile)
    if cfg.run.compile:
        model.compile()
    task = Task(
        model,
        method,
        data.objective,
        num_updates=train_loader.num_batches * cfg.budget.epochs,
        seed=cfg.seed,
        eval_names=list(eval_loaders),
        log_every=cfg.run.log_every,
        accumulate=cfg.run.accumulate,
        clip_norm=cfg.budget.clip_norm,
        source=source,
        first_update=receipts.first_update,
    )
    checkpoints = Checkpoints(folder, rule=cfg.budget.selection)
    loggers += _loggers(cfg, record, folder)
    trainer = L.Trainer(
        accelerator=cfg.run.accelerator,
        devices=cfg.run.devices,
        strategy="ddp" if cfg.run.devices > 1 else "auto",
        precision=cfg.precision,
        max_epochs=cfg.budget.epochs,
        logger=loggers,  # type: ignore[arg-type]  # each is a Logger that can be closed
        callbacks=[cost, receipts, *changes, checkpoints, progress],  # cost: as training stops
        default_root_dir=folder,
        enable_progress_bar=isinstance(progress, UpdateBar),
        num_sanity_val_steps=0,
        log_every_n_steps=1,  # nothing goes through Lightning's own interval
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    record.env["device"] = trainer.strategy.root_device.type
    try:
        if (last := resumable(folder)) is None:
            _cut_back(folder, -1)
            if eval_loaders:
                trainer.validate(task, [*eval_loaders.values()], verbose=False)
            else:
                task.trainer = trainer  # whose loggers the row goes to
            task.log_epoch(0)
        else:
            _cut_back(folder, last)
        trainer.fit(
            task,
            train_loader,
            [*eval_loaders.values()] or None,
            ckpt_path=None if last is None else folder / LAST,
            weights_only=True,
        )
        if not cost.cost:  # resumed from the very end: nothing was left to train
            receipts.on_train_start(trainer, task)
            receipts.on_train_end(trainer, task)
            cost.on_train_end(trainer, task)
            for each in changes:
                each.on_train_end(trainer, task)
        if data.test is not None and cfg.run.test:
            test_selected(task, trainer, to_ask(data.test, data.objective), checkpoints)
    finally:
        record.receipts = receipts.receipts
        record.change = {key: value for each in changes for key, value in each.change.items()}
        record.cost |= cost.cost | {"receipt_seconds": receipts.seconds}
        record.cost_source |= cost.source | {"receipt_seconds": "measured"}
        if _rank() == 0:
            read_back(record, folder, checkpoints)


def _changes(cfg: DictConfig) -> list[Changes]:
    """What looks at a base before and after, once for all devices; nothing where there is none."""
    if not has_base(cfg) or _rank() != 0:
        return []
    on_gpu = cfg.run.accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available()
    head = cfg.model.get("head")
    return [Changes(head, ruled=Head.of(cfg.model, cfg.base), device="cuda" if on_gpu else "cpu")]


def _loggers(cfg: DictConfig, record: RunRecord, folder: Path) -> list[Closable]:
    """Our own file, and beside it whatever `logger` chose."""
    own = JsonlLogger(folder / jsonl.FILE)
    chosen = (
        build(cfg.logger, "logger")(record, folder)
        if "_target_" in (cfg.get("logger") or {})
        else None
    )
    return [own] if chosen is None else [own, chosen]


def _cut_back(folder: Path, update: int) -> None:
    if _rank() == 0:
        cut_back(folder / jsonl.FILE, update)


def _rank() -> int:
    return int(os.environ.get("LOCAL_RANK", 0))


def _quiet() -> None:
    """Keep Lightning's remarks on devices and workers off the terminal."""
    adverts.silence()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for remark in (
        ".*does not have many workers.*",
        ".*`isinstance\\(treespec, LeafSpec.*",
        ".*have no `val_dataloader`. Skipping val loop.*",
        ".*recommended to use `self.log.*sync_dist=True.*",  # what is logged is the devices' sum
    ):
        warnings.filterwarnings("ignore", remark)
