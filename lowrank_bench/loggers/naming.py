"""What a run is called, grouped by and summarised as, alike in every dashboard."""

from typing import Any

from lowrank_bench.record import RunRecord

HASH = 8  # characters that tell groups apart and can still be read out


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
    return record.config | {
        "method_name": name.get("method"),
        "data_name": name.get("data"),
        "model_name": name.get("model"),
        "rank": name.get("rank"),
        "lr": name.get("lr"),
        "seed": record.seed,
        "control_hash": record.control_hash,
        "method_hash": record.method_hash,
        "fingerprint": record.fingerprint,
    }


def summary(record: RunRecord) -> dict[str, Any]:
    """The outcome as one flat row; what was not measured is left out."""
    checks = [receipt.get("ok") for receipt in record.receipts.values()]
    tree = record.metrics | {
        "status": record.status,
        "params": {key: record.params.get(key) for key in ("total", "trainable")},
        "cost": record.cost,
        "receipts": {"ok": checks.count(True), "failed": checks.count(False)},
    }
    return flat(tree)


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by "/", without those whose value is unknown."""
    row: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            row |= flat(value, f"{prefix}{key}/")
        elif value is not None:
            row[f"{prefix}{key}"] = value
    return row
