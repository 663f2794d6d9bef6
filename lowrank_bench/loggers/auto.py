"""`logger=auto`: W&B where it is set up, and silence where it is not."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowrank_bench.loggers.keys import has_key, is_disabled
from lowrank_bench.record import RunRecord

if TYPE_CHECKING:
    from lowrank_bench.loggers.wandb import RunWandbLogger


def auto_logger(record: RunRecord, folder: Path, **wandb: Any) -> "RunWandbLogger | None":
    """The W&B logger when there is a key; None when not, or under WANDB_MODE=disabled.

    Raises: what `wandb_logger` raises.
    """
    if is_disabled() or not has_key() or find_spec("wandb") is None:
        return None
    from lowrank_bench.loggers.wandb import wandb_logger

    return wandb_logger(record, folder, **wandb)
