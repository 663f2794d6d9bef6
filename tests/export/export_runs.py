"""Runs of a moment in folders as commands leave them, and their networks asked anew."""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import nn

from lowrank_bench.build import build
from lowrank_bench.job import Job
from lowrank_bench.run import run

SMALL = ("logger=local", "model.hidden=[16,16]", "rank=2", "epochs=2", "lr=0.02")


def ended(job: Job) -> Path:
    """The folder of a run, trained now where it was not before; its base likewise."""
    base = None if job.base is None else ended(job.base) / "last.ckpt"
    folder = job.store.folder(job.identity)
    if not (folder / "record.json").exists():
        folder.mkdir(parents=True)
        record = job.new_record()
        assert run(job.cfg, record, folder, lambda message: None, alone=False, base=base) == 0
    return folder


def recorded_loss(folder: Path) -> float:
    """The test loss that the run measured itself."""
    record = json.loads((folder / "record.json").read_text())
    return record["metrics"]["selected"]["test_loss"]


def loss_of(folder: Path, model: nn.Module) -> float:
    """The mean loss of `model` on the run's test data, as a plain script would take it."""
    cfg = OmegaConf.create(json.loads((folder / "record.json").read_text())["config"])
    data = build(cfg.data, "data")
    x, y = data.test.fetch(slice(0, len(data.test)))
    with torch.no_grad():
        return float(F.cross_entropy(model.eval()(x), y))
