"""What adaptation did to a pretrained model."""

from collections.abc import Iterable, Mapping
from math import sqrt
from statistics import fmean
from time import perf_counter
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from lowrank_bench.callbacks.features import features_of, last_linear
from lowrank_bench.callbacks.starts import each_dense_weight
from lowrank_bench.callbacks.unhurried import UnhurriedCallback
from lowrank_bench.data.part import Data, Part
from lowrank_bench.head import Head
from lowrank_bench.retention import Source
from lowrank_bench.similarity import linear_cka
from lowrank_bench.spectra import weight_change
from lowrank_bench.task import Task

SPECTRAL = ("rank", "stable_rank", "effective_rank", "components_90")


class Changes(UnhurriedCallback):
    """Fills `change` at the end of training, from the weights that training ended with.

    - `weights`: by linear layer, the measures of spectra.py between its effective weight and
      the base's; layers without a dense weight are left out.
    - `features`: of the data trained on (`target`) and of what the base was trained on
      (`source`), the linear CKA between what the head saw of them before and after; of their
      validation part (target) and of the part that the source's metrics are of.
    - `summary`: `norm` and `relative_norm` of all layers as one, and the means of the spectral
      measures over the layers that moved. A head that the base's rule decides on is left out,
      since it is no method's.
    - `seconds`: what all this took.

    `head` names the output module; None: the linear layer that is called last. `ruled` is set
    where the head is fresh or frozen. `device` is where the base is looked at; the model comes
    back from there.
    """

    def __init__(
        self, head: str | None, *, ruled: Head | None, device: torch.device | str = "cpu"
    ) -> None:
        self.head, self.ruled, self.device = head, ruled, device
        self.change: dict[str, Any] = {}

    def meet_base(
        self, model: nn.Module, plain: Mapping[str, Tensor], data: Data, source: Source | None
    ) -> None:
        """Look at the base, before a method is applied to it; `plain` are its weights."""
        started = perf_counter()
        self._plain = plain
        self._parts: dict[str, Part] = {"target": data.val or data.train}
        if source is not None:
            self._parts["source"] = source.data.test or source.data.val or source.data.train
        home = next(model.parameters()).device
        model.to(self.device)
        self.head = self.head or last_linear(model, self._parts["target"])
        self._began = {n: features_of(model, part, self.head) for n, part in self._parts.items()}
        model.to(home)
        self._seconds = perf_counter() - started

    @torch.no_grad()
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Task)
        started = perf_counter()
        model = pl_module.model
        weights = {
            # in the run's own type: to be rounded to that is no change that training made
            name: weight_change(weight, start.to(weight))
            for name, weight in each_dense_weight(model)
            if (start := self._plain.get(f"{name}.weight")) is not None
        }
        features = {
            name: linear_cka(self._began[name], features_of(model, part, self.head))
            for name, part in self._parts.items()
        }
        ruled = self.ruled
        self.change = {
            "summary": summary(
                each for name, each in weights.items() if ruled is None or not ruled.holds(name)
            ),
            "features": features,
            "weights": weights,
            "seconds": self._seconds + perf_counter() - started,
        }


def summary(weights: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """One number of each measure for all the layers whose measures are `weights`."""
    weights = list(weights)
    norm = sqrt(sum(each["norm"] ** 2 for each in weights))
    size = sqrt(sum(each["start_norm"] ** 2 for each in weights))
    moved = [each for each in weights if each["rank"]]
    means = {key: fmean(each[key] for each in moved) if moved else None for key in SPECTRAL}
    return {"norm": norm, "relative_norm": norm / size if size else None, **means}
