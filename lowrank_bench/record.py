"""The record that every run leaves, whatever happened to it: `record.json`.

Units are in the names; what was not measured is null, never a stand-in; accuracies are
fractions in [0, 1]. This file imports the standard library alone, so that reading records
never loads torch.
"""

import json
import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

SCHEMA = 1
FILE = "record.json"
LAST = "last.ckpt"  # beside it: what the run is taken up from, and what it ended with
BEST = "best.ckpt"  # of the epoch that validation selected, where it selects
PLAN = "plan.json"  # what `lowrank-plan --check` planned it to cost, beside what it cost

Status = Literal["finished", "diverged", "failed", "oom", "interrupted"]
RESULTS: tuple[Status, ...] = ("finished", "diverged")  # what is never trained again

# `source` is what the base was trained on; perplexity and bits_per_byte are of language models.
PARTS = ("val", "test", "source")
METRICS = (
    "train_loss",
    *(f"{part}_{name}" for part in PARTS for name in ("loss", "accuracy")),
    *(f"{part}_{name}" for part in PARTS for name in ("perplexity", "bits_per_byte")),
)
COSTS = (
    *(
        "num_updates",
        "train_flops",
        "train_seconds",
        "step_time_s",
        "examples_per_s",
        "tokens_per_s",
    ),
    *("flops_per_update", "flops_renewing_update", "energy_j"),
    *("peak_memory_bytes", "peak_reserved_bytes", "rss_peak_bytes"),
    *("weight_bytes", "buffer_bytes", "gradient_bytes"),
    *("optimizer_state_bytes", "projector_bytes"),
    *("checkpoint_bytes", "adapter_bytes", "merged_model_bytes", "merge_s", "switch_s"),
    *("receipt_seconds", "measuring_seconds"),
)


def _unknown_costs() -> dict[str, Any]:
    return dict.fromkeys(COSTS) | {"step_time_s": {"median": None, "p95": None}}


def _unknown_metrics() -> dict[str, dict[str, Any]]:
    empty: dict[str, Any] = dict.fromkeys(METRICS)
    return {
        "final": dict(empty),
        "selected": dict(empty) | {"epoch": None, "rule": None},
        "before": dict(empty),
    }


@dataclass(kw_only=True)
class RunRecord:
    """One (control, method, seed) trained once."""

    status: Status
    error: dict[str, str] | None = None  # {type, message}
    fingerprint: str
    control_hash: str
    method_hash: str
    seed: int
    name: dict[str, Any]  # {method, data, model, base, rank, lr}; rank null where unused
    config: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, str | None] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)
    env: dict[str, Any] = field(default_factory=dict)
    base: dict[str, Any] = field(default_factory=dict)  # {fingerprint, weights_checksum} or less
    params: dict[str, Any] = field(
        default_factory=lambda: {"total": None, "trainable": None, "by_role": {}, "targets": []}
    )
    cost: dict[str, Any] = field(default_factory=_unknown_costs)
    cost_source: dict[str, str | None] = field(default_factory=lambda: dict.fromkeys(COSTS))
    receipts: dict[str, dict[str, Any]] = field(default_factory=dict)  # {ok, value, note}
    metrics: dict[str, dict[str, Any]] = field(default_factory=_unknown_metrics)
    # What adaptation did to a base: {summary, features, weights, seconds} of callbacks/changes.py.
    # Empty from scratch, and where training did not end.
    change: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def is_result(self) -> bool:
        return self.status in RESULTS

    def write(self, folder: Path) -> Path:
        """Write `folder/record.json`, whole or not at all."""
        path = folder / FILE
        content = {"schema": self.schema} | asdict(self)
        write_atomically(path, json.dumps(_finite(content), indent=1, ensure_ascii=False) + "\n")
        return path

    @classmethod
    def read(cls, path: Path) -> "RunRecord":
        """Read a record file.

        Raises: ValueError naming the file when it is no record of this schema.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a JSON file ({error})") from None
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise ValueError(f"{path}: not a record of schema {SCHEMA}")
        known = {f.name for f in fields(cls)}
        try:
            return cls(**{key: value for key, value in content.items() if key in known})
        except TypeError as error:
            raise ValueError(f"{path}: not a whole record ({error})") from None


def find(root: Path) -> Iterator[Path]:
    """All record files below `root`, in a stable order; hidden folders hold none."""
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        if FILE in files:
            yield Path(folder) / FILE


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write to a neighbour, sync, rename: a reader sees the old file or the new one."""
    handle, neighbour = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(neighbour, 0o644)  # mkstemp's 0600 would hide a study from one's colleagues
        os.replace(neighbour, path)
    except BaseException:
        os.unlink(neighbour)
        raise


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: what is not a number is unknown."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
