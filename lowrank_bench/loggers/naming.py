"""What a run is called, grouped by and summarised as, alike in every dashboard.

The names are stable: docs/wandb.md lists them, and dashboard/remembering.py reads them back.
"""

import math
from collections.abc import Mapping
from typing import Any

from lowrank_bench.record import RunRecord

HASH = 8  # characters that tell groups apart and can still be read out
HASHES = ("fingerprint", "control_hash", "method_hash")
LABELS = {"method_name": "method", "data_name": "data", "model_name": "model"}  # of the record's
FACTS = "record"  # the config's key for what no other key of it holds


def group(record: RunRecord) -> str:
    """One control and one method: the seeds of a group can be averaged."""
    method = record.name.get("method")
    return f"{method}-{record.control_hash[:HASH]}-{record.method_hash[:HASH]}"


def title(record: RunRecord) -> str:
    """`lora-r8-lr0.001-seed0`; without the rank where the method has none."""
    rank, lr = record.name.get("rank"), record.name.get("lr")
    parts = [
        str(record.name.get("method")),
        None if rank is None else f"r{rank}",
        None if lr is None else f"lr{lr:g}",
        f"seed{record.seed}",
    ]
    return "-".join(part for part in parts if part)


def tags(record: RunRecord) -> list[str]:
    rank = record.name.get("rank")
    found = [str(record.name.get(key)) for key in ("data", "model", "method")]
    return found if rank is None else [*found, f"rank{rank}"]


def config(record: RunRecord) -> dict[str, Any]:
    """The run's whole config, and at its top the keys that one filters and groups by.

    `method`, `data` and `model` are often subtrees of the config: their labels get `_name`,
    so that nothing is overwritten.
    """
    name = record.name
    labels = {label: name.get(key) for label, key in LABELS.items()}
    knobs = {"rank": name.get("rank"), "lr": name.get("lr"), "seed": record.seed}
    return record.config | labels | knobs | {key: getattr(record, key) for key in HASHES}


def facts(record: RunRecord, shown: Mapping[str, Any]) -> dict[str, Any]:
    """What else the record holds of how the run was made, and no column of `shown` does.

    `shown` is the config as the dashboard has it. A column there may have taken the place of a
    value of ours: `rank` is null where the method has none, and under a W&B sweep a swept
    `method` is its name alone. `config` holds those values, `keys` says which are ours.
    """
    hidden = {k: v for k, v in record.config.items() if k not in shown or shown[k] != v}
    return {
        "schema": record.schema,
        "name": record.name,
        "config": hidden,
        "keys": list(record.config),
        "choices": record.choices,
        "overrides": record.overrides,
        "env": record.env,
        "base": record.base,
        "targets": record.params.get("targets"),
        "cost_source": record.cost_source,
    }


def summary(record: RunRecord) -> dict[str, Any]:
    """The outcome as one flat row; what was not measured is left out."""
    checks = {name: receipt.get("ok") for name, receipt in record.receipts.items()}
    oks = list(checks.values())
    tree = record.metrics | {
        "status": record.status,
        "error": record.error or {},
        "params": {key: record.params.get(key) for key in ("total", "trainable", "by_role")},
        "cost": record.cost,
        "receipts": {"ok": oks.count(True), "failed": oks.count(False)},
        "receipt": checks,
        "change": {key: record.change.get(key) for key in ("summary", "features", "seconds")},
    }
    return flat(tree)


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by "/", without those whose value is unknown, NaN or infinite."""
    row: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            row |= flat(value, f"{prefix}{key}/")
        elif value is not None and not (isinstance(value, float) and not math.isfinite(value)):
            row[f"{prefix}{key}"] = value
    return row
