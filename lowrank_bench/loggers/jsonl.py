"""`metrics.jsonl`: every row a run logged, kept by ourselves, whatever else listens.

Rows are only ever appended, each as one whole line; a line torn by a crash is skipped by the
reader and removed on resume. Lightning's CSVLogger deletes its file on resume, and W&B's
loses its tail when a process is killed.
"""

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override

from lowrank_bench.loggers.curves import write_curves
from lowrank_bench.loggers.rows import cut_back, read_rows
from lowrank_bench.record import RunRecord

__all__ = ["FILE", "JsonlLogger", "cut_back", "read_rows", "write_curves"]

FILE = "metrics.jsonl"
PATIENCE_S = 3.0  # what a killed process may lose between two checkpoints


class JsonlLogger(Logger):
    """Appends each logged row to `path`, with `update` for the step."""

    def __init__(self, path: Path | str) -> None:
        super().__init__()
        self.path = Path(path)
        self._pending: list[str] = []
        self._flushed_at = time.monotonic()

    @property
    @override
    def name(self) -> str:
        return "jsonl"

    @property
    @override
    def version(self) -> str:
        return ""

    @property
    @override
    def save_dir(self) -> str:
        return str(self.path.parent)

    @override
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the config is in the record."""

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        row = {"update": step} | {key: _number(value) for key, value in metrics.items()}
        row["update"] = step
        self._pending.append(json.dumps(row, allow_nan=False) + "\n")
        if "epoch" in row or time.monotonic() - self._flushed_at > PATIENCE_S:
            self.flush()

    @rank_zero_only
    def flush(self) -> None:
        """Hand the pending lines to the operating system, all in one write."""
        self._flushed_at = time.monotonic()
        if not self._pending:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab+", buffering=0) as file:
            text = "".join(self._pending)
            if _ends_torn(file):
                text = "\n" + text  # else the first row would be lost with the torn one
            file.write(text.encode())
        self._pending.clear()

    @override
    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Flush: a resumed run repeats no row from before its checkpoint."""
        self.flush()

    @override
    def finalize(self, status: str) -> None:
        self.flush()

    def close(self, record: RunRecord) -> None:
        self.flush()


def _ends_torn(file: Any) -> bool:
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def _number(value: Any) -> float | int | None:
    """JSON has no NaN and no infinity: they become null."""
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, int) or math.isfinite(value) else None
