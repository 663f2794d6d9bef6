"""The records that a synthetic study's runs would have left, beside its ledger."""

from pathlib import Path
from typing import Any

from lowrank_bench.protocol.ledger import DUPLICATES
from lowrank_bench.protocol.study import DUPLICATE, FINAL, Study
from lowrank_bench.record import RunRecord

MOMENTS = ("before", "selected")


def write_records(study: Study, folder: Path) -> Path:
    """One record a row of the study's table; return `folder`."""
    folder.mkdir(parents=True)
    study.ledger.write(folder)
    for row in study.runs.to_dicts():
        parent = folder / DUPLICATES if row["stage"] == DUPLICATE else folder
        run = parent / row["fingerprint"]
        run.mkdir(parents=True)
        _record(row).write(run)
    return folder


def _record(row: dict[str, Any]) -> RunRecord:
    label = row["method_label"]
    record = RunRecord(
        status=row["status"],
        fingerprint=row["fingerprint"],
        control_hash=row["control_hash"],
        method_hash=row["method_hash"],
        seed=row["seed"],
        name={"method": label, "data": "digits", "model": "mlp", "base": "scratch"}
        | {"rank": row["rank"], "lr": row["lr"]},
        config={"data": {"name": "digits"}, "budget": {"epochs": 1}},
        params={"total": row["params_total"], "trainable": row["params_trainable"], "by_role": {}},
        env={"device": row["device"]},
    )
    for moment in MOMENTS:
        found = {key: value for key, value in row.items() if key.startswith(f"{moment}_")}
        section = {key.removeprefix(f"{moment}_"): value for key, value in found.items()}
        record.metrics[moment] |= section
    record.cost |= {key: row[key] for key in record.cost if key in row}
    if row["num_failed_receipts"]:
        record.receipts["moved"] = {"ok": False, "value": 0.0, "note": "stood still"}
    if row["stage"] == FINAL and label == "adalora":
        deep = 3 + row["seed"] % 2
        ranks = {"blocks.0.attn.q": 1, "blocks.0.mlp.up": 2, "blocks.1.attn.q": deep}
        record.receipts["active_rank"] = {"ok": True, "value": ranks, "note": ""}
    return record
