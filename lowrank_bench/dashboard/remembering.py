"""A record from what W&B kept of a run: the way back of loggers/naming.py.

What W&B was not told is null. Of receipts it knows whether each held, but neither value nor
note; of layers and of single test examples it knows nothing.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lowrank_bench.loggers.naming import FACTS, HASHES, LABELS
from lowrank_bench.record import RunRecord

NO_NUMBER = ("NaN", "Infinity", "-Infinity")  # how W&B spells what JSON has no number for


def is_ours(config: Mapping[str, Any]) -> bool:
    """Whether a run's config says what a record cannot be without."""
    return all(config.get(key) is not None for key in (*HASHES, "seed"))


def record_of(config: Mapping[str, Any], summary: Mapping[str, Any], state: str) -> RunRecord:
    """The record of a run of ours; `state` is W&B's own word for how it ended.

    A run that left no outcome, killed or still under way, becomes a failed one that says so.
    """
    facts = config.get(FACTS) or {}
    told = _nested(summary)
    record = RunRecord(
        status=told.get("status") or "failed",
        error=told.get("error"),
        fingerprint=str(config["fingerprint"]),
        control_hash=str(config["control_hash"]),
        method_hash=str(config["method_hash"]),
        seed=int(config["seed"]),
        name=facts.get("name") or _name(config),
        config=_own(config, facts),
        choices=facts.get("choices") or {},
        overrides=facts.get("overrides") or [],
        env=facts.get("env") or {},
        base=facts.get("base") or {},
        receipts={
            name: {"ok": bool(ok), "value": None, "note": None}
            for name, ok in (told.get("receipt") or {}).items()
        },
        change=told.get("change") or {},
    )
    if "status" not in told:
        record.error = {"type": "Killed", "message": f"no outcome; W&B calls the run {state}"}
    record.params |= (told.get("params") or {}) | {"targets": facts.get("targets") or []}
    record.cost |= told.get("cost") or {}
    record.cost["step_time_s"] = {"median": None, "p95": None} | record.cost["step_time_s"]
    record.cost_source |= facts.get("cost_source") or {}
    for moment in record.metrics:
        record.metrics[moment] |= told.get(moment) or {}
    return record


def rows_of(history: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows that a run logged, as its metrics file has them: without W&B's own keys."""
    for row in history:
        known = {key: _number(value) for key, value in row.items() if not key.startswith("_")}
        own = {key: value for key, value in known.items() if value is not None}
        if own:
            yield {"update": own.pop("update", None)} | own


def _name(config: Mapping[str, Any]) -> dict[str, Any]:
    """The labels, where a run has no facts; W&B then does not know the base."""
    labels = {key: config.get(label) for label, key in LABELS.items()}
    return labels | {"base": None, "rank": config.get("rank"), "lr": config.get("lr")}


def _own(config: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The record's config, without labels and without what a sweep put there."""
    if "keys" not in facts:
        added = {FACTS, *LABELS, *HASHES}
        return {k: v for k, v in config.items() if k not in added and "." not in k}
    hidden = facts.get("config") or {}
    return {key: hidden[key] if key in hidden else config.get(key) for key in facts["keys"]}


def _nested(row: Mapping[str, Any]) -> dict[str, Any]:
    """A flat row with its nested keys again; what is no number is left out."""
    tree: dict[str, Any] = {}
    for path, value in row.items():
        value = _number(value)
        *above, key = path.split("/")
        node = tree
        for part in above:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                break
        else:
            if value is not None:
                node[key] = value
    return tree


def _number(value: Any) -> Any:
    is_infinite = isinstance(value, float) and not math.isfinite(value)
    return None if is_infinite or value in NO_NUMBER else value
