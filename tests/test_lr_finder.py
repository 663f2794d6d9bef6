"""Lightning's own search for a learning rate works on our task."""

from collections.abc import Callable
from pathlib import Path

import lightning as L
import pytest
from lightning.pytorch.tuner.tuning import Tuner
from omegaconf import DictConfig

from lowrank_bench.data.loader import BlockLoader
from lowrank_bench.prepare import prepare
from lowrank_bench.task import Task

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*weights_only. was not set"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*but have no .val_dataloader"),
]


def test_lightning_finds_a_rate(composed: Callable[..., DictConfig], tmp_path: Path) -> None:
    """With one update in a step of Lightning's, which counts its points by them."""
    cfg = composed("method=lora", "model.hidden=[16,16]", "rank=4")
    data, model, method, *_ = prepare(cfg)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    task = Task(
        model,
        method,
        data.objective,
        num_updates=100,
        seed=0,
        eval_names=[],
        log_every=1000,
    )
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=5,
        logger=False,
        default_root_dir=tmp_path,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    loader = BlockLoader(data.train, batch_size=64, shuffle=True)
    found = Tuner(trainer).lr_find(task, loader, num_training=40, update_attr=False)
    assert found is not None
    rate = found.suggestion()
    assert rate is not None and 1e-4 < rate < 1
    losses = found.results["loss"]
    assert all(loss == loss for loss in losses)  # none of them is NaN
    after = task.model.state_dict()  # the search leaves no trace
    assert all((after[name] == value).all() for name, value in before.items())
