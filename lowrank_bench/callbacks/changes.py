"""What adaptation did to a pretrained model."""

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor

from lowrank_bench.callbacks.starts import each_dense_weight
from lowrank_bench.callbacks.unhurried import UnhurriedCallback
from lowrank_bench.task import Task


class Changes(UnhurriedCallback):
    """Fills `change` at the end of training."""

    def __init__(self, plain: Mapping[str, Tensor]) -> None:
        self.plain = plain
        self.change: dict[str, Any] = {}

    @torch.no_grad()
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Task)
        self.change["weights"] = {
            name: {"norm": float((weight.cpu() - self.plain[f"{name}.weight"]).norm())}
            for name, weight in each_dense_weight(pl_module.model)
        }
