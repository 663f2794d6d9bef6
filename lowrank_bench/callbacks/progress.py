"""How far a run is, told to whoever waits for it."""

from collections.abc import Callable
from time import monotonic

from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from lowrank_bench.callbacks.unhurried import UnhurriedCallback
from lowrank_bench.task import Task


class Progress(UnhurriedCallback):
    """Calls `tell` with the share of updates done, at most every half second."""

    def __init__(self, tell: Callable[[float], None]) -> None:
        self.tell = tell
        self._told_at = 0.0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:  # type: ignore[no-untyped-def]
        now = monotonic()
        if now - self._told_at >= 0.5:
            self._told_at = now
            assert isinstance(pl_module, Task)
            self.tell(pl_module.update / pl_module.num_updates)


class UpdateBar(UnhurriedCallback, TQDMProgressBar):
    """Lightning's bar, counting optimizer updates of the whole run instead of blocks."""

    def init_train_tqdm(self) -> Tqdm:
        bar = super().init_train_tqdm()
        bar.unit = "update"
        return bar

    def on_train_epoch_start(self, trainer, *_) -> None:  # type: ignore[no-untyped-def]
        bar = self.train_progress_bar
        bar.total = trainer.lightning_module.num_updates
        bar.set_description(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")

    def on_train_batch_end(self, trainer, pl_module, *_) -> None:  # type: ignore[no-untyped-def]
        bar = self.train_progress_bar
        bar.update(pl_module.update - bar.n)

    def on_train_epoch_end(self, trainer, pl_module) -> None:  # type: ignore[no-untyped-def]
        shown = ("train_loss", "val_accuracy", "test_accuracy")
        assert isinstance(pl_module, Task)
        values = {k: v for k in shown if (v := pl_module.evaluated.get(k)) is not None}
        self.train_progress_bar.set_postfix({k: f"{v:.4f}" for k, v in values.items()})

    def init_validation_tqdm(self) -> Tqdm:
        return Tqdm(disable=True)  # evaluation takes a moment; two bars flicker

    def init_test_tqdm(self) -> Tqdm:
        return Tqdm(disable=True)
