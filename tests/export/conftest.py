"""Runs of a moment, trained once and left in folders as a command leaves them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from export_runs import SMALL, ended
from omegaconf import OmegaConf

from lowrank_bench.job import Job


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all runs of these tests lie."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def trained(composed: Callable[..., Any], runs: Path) -> Callable[..., Path]:
    """`trained("method=lora", "pair=digits_halves")` is the folder of that run, base and all."""

    def train(*overrides: str) -> Path:
        small = () if any(each.startswith("model=") for each in overrides) else SMALL
        cfg = OmegaConf.create(
            {**composed(*small, *overrides), "hydra": {"runtime": {"choices": {"model": "-"}}}}
        )
        cfg.run.dir = str(runs)
        return ended(Job(cfg, []))

    return train


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
