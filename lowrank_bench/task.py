"""The LightningModule: the clock of optimizer updates, the loss, the metrics."""

from array import array
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from statistics import fmean
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from lowrank_bench.data.loader import Block, BlockLoader, batches
from lowrank_bench.errors import Diverged
from lowrank_bench.evaluation import Evaluation
from lowrank_bench.method import Method
from lowrank_bench.objectives.objective import Objective
from lowrank_bench.retention import Source
from lowrank_bench.seeds import derive


class Task(Evaluation):
    """Trains a model by an objective, a block of updates in one `training_step`.

    The clock is `update`, the number of optimizer updates done. One update, in this order:
    clear gradients, forward and backward (for each of `accumulate` micro-batches), clipping to
    `clip_norm`, `before_step` hooks, optimizer step, schedule step, `after_step` hooks while
    gradients live, then `step_end` hooks, and the clock advances. Hooks
    are called with (model, optimizer, index of this update). A block of 16 updates gives the
    bits of 16 blocks of one; it only spreads Lightning's cost for each step.

    While `watch` is set, each update happens inside the context that it makes of the update's
    index, and is not among the timed ones; whoever set it sets it back to None.

    Raises: Diverged when the training loss becomes NaN or infinite.
    """

    # Nothing happens here, and Lightning passes over what cannot be called (see
    # callbacks/unhurried.py).
    on_before_backward = None  # type: ignore[assignment]
    on_after_backward = None  # type: ignore[assignment]
    on_before_optimizer_step = None  # type: ignore[assignment]

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        objective: Objective,
        *,
        num_updates: int,
        seed: int,
        eval_names: Sequence[str],
        log_every: int,
        accumulate: int = 1,
        clip_norm: float | None = None,
        source: Source | None = None,
        first_update: Callable[[nn.Module], None] | None = None,
    ) -> None:
        super().__init__(model, objective, eval_names=eval_names, source=source)
        self.automatic_optimization = False
        self.method = method
        self.num_updates = num_updates
        self.seed = seed
        self.log_every = log_every
        self.accumulate = accumulate  # micro-batches in a batch
        self.clip_norm = clip_norm
        self.update = 0
        self.step_seconds = array("d")  # one entry an update, on a GPU one a block
        self.train_seconds = 0.0  # free of evaluation
        self._unlogged: list[float] = []  # losses since the last point of the curve
        self.watch: Callable[[int], AbstractContextManager[None]] | None = None
        self.first_update = first_update  # called with the model after update 0
        self._penalty = method.slots.penalty
        self._trained = [p for p in model.parameters() if p.requires_grad]

    def configure_optimizers(self) -> Any:
        optimizer = self.method.optimizer(self.model)
        schedule = self.method.schedule(optimizer, self.num_updates)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    # Training

    def on_train_start(self) -> None:
        self.update = self.trainer.global_step  # 0, or where a checkpoint left it
        mixed = str(self.trainer.precision).endswith("mixed")
        # Casts end with the backward pass: moments, merges and SVDs are not for half precision.
        self._uncast = torch.autocast(self.device.type, enabled=False) if mixed else nullcontext()
        # Under a scaler, gradients have their own size only from here on.
        self._is_scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        if self._is_scaled:
            self.on_before_optimizer_step = self._before_step  # type: ignore[assignment]

    def _before_step(self, optimizer: Optimizer) -> None:
        if self.clip_norm is not None:
            clip_grad_norm_(self._trained, self.clip_norm)
        self.method.hooks.before_step(self.model, optimizer, self.update)

    def on_train_epoch_start(self) -> None:
        loader = self.trainer.train_dataloader
        if isinstance(loader, BlockLoader):
            loader.epoch = self.current_epoch
        self._epoch_losses: list[Tensor] = []
        # What is drawn in an epoch (dropout) is a function of the epoch, so that a run resumed
        # at its start draws the same.
        torch.manual_seed(derive(self.seed, "epoch", self.current_epoch, self.global_rank))
        self._mark = perf_counter()

    def training_step(self, block: Block, batch_idx: int) -> Tensor:
        """Train on the batches of a block; return the mean of their losses, for whoever asks."""
        optimizer: Any = self.optimizers()  # one each, whatever Lightning's types allow
        schedule: Any = self.lr_schedulers()
        timed_alone, watched = self.device.type == "cpu", False
        started = block_started = perf_counter()
        losses, rates = [], []
        for batch in batches(block, self.trainer.world_size):
            if (watch := self.watch) is None:
                loss, rate = self._train_on(*batch, optimizer, schedule)
            else:
                watched = True
                with watch(self.update):
                    loss, rate = self._train_on(*batch, optimizer, schedule)
            if self.update == 0 and self.first_update is not None:
                with self._uncast:
                    self.first_update(self.model)
            self.update += 1
            losses.append(loss)
            rates.append(rate)
            if timed_alone:
                now = perf_counter()
                if watch is None:
                    self.step_seconds.append(now - started)
                started = now
        self._route(None)
        means = self._mean_over_devices(torch.stack(losses))
        values = means.tolist()  # waits for the device
        if not timed_alone and not watched:
            self.step_seconds.append((perf_counter() - block_started) / len(losses))
        self._account(means, values, rates)
        now = perf_counter()
        self.train_seconds += now - self._mark  # with the fetching of the block
        self._mark = now
        return means.mean()

    def _train_on(
        self,
        x: Tensor,
        y: Tensor,
        ids: Tensor | None,
        targets: int | None,
        optimizer: Any,
        schedule: Any,
    ) -> tuple[Tensor, float]:
        """One update; return the loss of its batch and the learning rate it was made at."""
        hooks, bare = self.method.hooks, optimizer.optimizer
        for parameter in self._trained:  # here, so that gradients live on after the step
            parameter.grad = None
        loss = self._backward(x, y, ids, targets)
        rate = self.lr
        with self._uncast:
            if not self._is_scaled:
                self._before_step(bare)
            optimizer.step()
            schedule.step()
            hooks.after_step(self.model, bare, self.update)
            hooks.step_end(self.model, bare, self.update)
        return loss, rate

    def _backward(self, x: Tensor, y: Tensor, ids: Tensor | None, targets: int | None) -> Tensor:
        """Leave a batch's gradients; return its loss.

        `targets` are those of the batch on all devices, of which this is a part; None: of this.
        """
        if targets is None and self.accumulate == 1:
            self._route(ids)
            loss = self.objective.mean(self.model(x), y)
            if self._penalty is not None:
                loss = loss + self._penalty(self.model)
            self.manual_backward(loss)
            return loss.detach()
        # Gradients are averaged over devices and added up over micro-batches. A sum over some of
        # the N targets of the batch, times devices / N, makes that the gradient of the mean.
        scale = self.trainer.world_size / (targets or max(1, int(self.objective.count(y))))
        losses = []
        parts = min(self.accumulate, len(x)) or 1  # a device may have got no example
        all_ids = (None,) * parts if ids is None else ids.tensor_split(parts)
        for i, (part_x, part_y, part_ids) in enumerate(
            zip(x.tensor_split(parts), y.tensor_split(parts), all_ids, strict=True)
        ):
            self._route(part_ids)
            loss = self.objective.total(self.model(part_x), part_y) * scale
            if i == 0 and self._penalty is not None:
                loss = loss + self._penalty(self.model)
            with nullcontext() if i == parts - 1 else self._alone():
                self.manual_backward(loss)
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _alone(self) -> AbstractContextManager[None]:
        """Gradients of this device, kept from the others: those are averaged with the last
        micro-batch, of which devices may have different numbers.
        """
        wrapped = self.trainer.strategy.model
        return wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) else nullcontext()

    def _account(self, losses: Tensor, values: Sequence[float], rates: Sequence[float]) -> None:
        """Check and keep the losses of a block; hand a point of the curve to the loggers."""
        if not torch.isfinite(losses).all():
            first = next(i for i, value in enumerate(values) if value - value != 0)
            raise Diverged(self.update - len(values) + first, values[first])
        self._epoch_losses.append(losses)
        first = self.update - len(values) + 1
        for update, (value, rate) in enumerate(zip(values, rates, strict=True), first):
            self._unlogged.append(value)
            if len(self._unlogged) >= self.log_every:
                point = {"loss": fmean(self._unlogged), "lr": rate}
                self._unlogged.clear()
                for logger in self.loggers:
                    logger.log_metrics(point, step=update)

    @property
    def lr(self) -> float:
        """The learning rate of the first parameter group."""
        return self.trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_epoch_end(self) -> None:
        self.evaluated["train_loss"] = float(torch.cat(self._epoch_losses).cpu().double().mean())
        self.log_epoch(self.current_epoch + 1)

    def log_epoch(self, epoch: int) -> None:
        """One row of the curves: what was measured at the end of `epoch`."""
        row = {"epoch": epoch, "seconds": self.train_seconds, **self.evaluated}
        if self.trainer.optimizers:
            row["lr"] = self.lr
        for logger in self.loggers:
            logger.log_metrics(row, step=self.update)  # type: ignore[arg-type]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["train_seconds"] = self.train_seconds
        checkpoint["unlogged"] = self._unlogged

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.train_seconds = checkpoint["train_seconds"]
        self._unlogged = checkpoint["unlogged"]
        self.update = checkpoint["global_step"]

    def _mean_over_devices(self, value: Tensor) -> Tensor:
        return self.trainer.strategy.reduce(value.to(self.device), reduce_op="mean")
