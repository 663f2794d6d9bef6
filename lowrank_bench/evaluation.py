"""The half of the LightningModule that asks a model about parts of the data."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import lightning as L
import torch
from torch import Tensor, nn

from lowrank_bench.data.loader import Block
from lowrank_bench.layers.routing import router
from lowrank_bench.objectives.objective import Objective
from lowrank_bench.retention import SOURCE, Source


class Evaluation(L.LightningModule):
    """Fills `evaluated` with the metrics of the parts `eval_names`, whose loaders Lightning has.

    The part called "source" is asked about by its own head and objective.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        *,
        eval_names: Sequence[str],
        source: Source | None,
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.eval_names = list(eval_names)  # what the validation loaders hold, in order
        self.evaluated: dict[str, float] = {}
        self.examples: list[dict[str, Tensor]] | None = None  # a list: one entry a batch is kept
        self._source = [source]  # in a list, since its head is no part of what trains
        self._route = router(model)  # adapter ids go to the banks, if there are any

    def on_validation_model_zero_grad(self) -> None:
        """Nothing: gradients stay for the receipts, where Lightning would drop them."""

    def on_validation_epoch_start(self) -> None:
        self._sums = {name: torch.zeros(3, dtype=torch.float64) for name in self.eval_names}

    def validation_step(self, block: Block, batch_idx: int, dataloader_idx: int = 0) -> None:
        x, y, _, *ids = block
        name = self.eval_names[dataloader_idx]
        self._route(ids[0] if ids else None)
        with self._standing_in(name) as objective:
            outputs = self.model(x)
            self._sums[name] += objective.sums(outputs, y)
            if self.examples is not None:
                self.examples.append(objective.each(outputs, y))
        self._route(None)

    def on_validation_epoch_end(self) -> None:
        for name, sums in self._sums.items():
            metrics = self._objective(name).metrics(self._sum_over_devices(sums))
            self.evaluated |= {f"{name}_{metric}": value for metric, value in metrics.items()}
        if "val" in self._sums:  # what a checkpoint may be selected by
            for metric in ("accuracy", "loss"):
                self.log(f"val_{metric}", self.evaluated[f"val_{metric}"], logger=False)

    def _objective(self, name: str) -> Objective:
        source = self._source[0]
        return source.objective if name == SOURCE and source else self.objective

    @contextmanager
    def _standing_in(self, name: str) -> Iterator[Objective]:
        """The model as it is asked about the part `name`: about the source, by its own head."""
        source = self._source[0]
        if name == SOURCE and source:
            with source.head_on(self.model):
                yield source.objective
        else:
            yield self.objective

    # A test is an evaluation of one loader, named by `eval_names` like any other.
    on_test_epoch_start = on_validation_epoch_start
    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end

    def _sum_over_devices(self, value: Tensor) -> Tensor:
        if self.trainer.world_size == 1:  # it stays here: not every device has float64
            return value
        return self.trainer.strategy.reduce(value.to(self.device), reduce_op="sum")
