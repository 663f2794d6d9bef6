"""A whole run in this process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def ran(composed: Callable[..., Any], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Train a whole run, and return its record; with `folder`, in that one."""
    from omegaconf import OmegaConf

    from lowrank_bench.job import Job
    from lowrank_bench.run import run

    def train(*overrides: str, folder: Path | None = None) -> dict[str, Any]:
        cfg = composed("logger=local", "model.hidden=[32,32]", "rank=4", *overrides)
        cfg = OmegaConf.create({**cfg, "hydra": {"runtime": {"choices": {}}}})
        folder = folder or tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        folder.mkdir(exist_ok=True)
        assert run(cfg, Job(cfg, []).new_record(), folder, lambda message: None, alone=False) == 0
        return json.loads((folder / "record.json").read_text())

    return train
