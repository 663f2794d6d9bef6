"""Runs of a moment, left in folders as a command leaves them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import nn

from lowrank_bench.build import build
from lowrank_bench.job import Job
from lowrank_bench.run import run

Trained = Callable[..., Path]

SMALL = ("logger=local", "model.hidden=[16,16]", "rank=2", "epochs=2", "lr=0.02")


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all runs of these tests lie, each of which is trained once."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def trained(composed: Callable[..., Any], runs: Path) -> Trained:
    """`trained("method=lora", "pair=digits_halves")` is the folder of that run, base and all."""

    def train(*overrides: str) -> Path:
        cfg = OmegaConf.create(
            {**composed(*SMALL, *overrides), "hydra": {"runtime": {"choices": {"model": "-"}}}}
        )
        cfg.run.dir = str(runs)
        return _ended(Job(cfg, []))

    return train


def _ended(job: Job) -> Path:
    base = None if job.base is None else _ended(job.base) / "last.ckpt"
    folder = job.store.folder(job.identity)
    if not (folder / "record.json").exists():
        folder.mkdir(parents=True)
        record = job.new_record()
        assert run(job.cfg, record, folder, lambda message: None, alone=False, base=base) == 0
    return folder


def test_loss(folder: Path, model: nn.Module) -> float:
    """The mean loss of `model` on the run's test data, as a plain script would take it."""
    cfg = OmegaConf.create(json.loads((folder / "record.json").read_text())["config"])
    data = build(cfg.data, "data")
    x, y = data.test.fetch(slice(0, len(data.test)))
    with torch.no_grad():
        return float(F.cross_entropy(model.eval()(x), y))


test_loss.__test__ = False  # type: ignore[attr-defined]


@pytest.fixture
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A copy of a run, its bases included, whose checkpoint's weights something was done to."""

    def damage(folder: Path, harm: Callable[[dict[str, torch.Tensor]], None]) -> Path:
        root = tmp_path_factory.mktemp("damaged")
        shutil.copytree(folder, root / folder.name)
        if (folder.parent / ".bases").exists():
            shutil.copytree(folder.parent / ".bases", root / ".bases")
        path = root / folder.name / "last.ckpt"
        content = torch.load(path, weights_only=True)
        harm(content["state_dict"])
        torch.save(content, path)
        return root / folder.name

    return damage
