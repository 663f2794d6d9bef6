"""What `lowrank-plan --check` planned a run to cost, beside what it measured."""

import json
from pathlib import Path
from typing import Any

from lowrank_bench.record import PLAN
from lowrank_bench.report.section import Section

SHOWN = ("weight_bytes", "gradient_bytes", "optimizer_state_bytes")


def planned(section: Section) -> list[dict[str, Any]]:
    """One row a configuration, of the first of its runs that has been planned.

    `equal` of `exact` quantities that must agree do; `differing` names the others. Empty where
    nothing was planned.
    """
    rows = []
    for (label,), runs in section.runs.sort("seed").group_by("label", maintain_order=True):
        found = next(filter(None, map(_compared, runs["path"])), None)
        if found is None:
            continue
        held = [each for each in found.values() if each.get("agrees") is not None]
        peak = found.get("peak_memory_bytes", {})
        rows.append(
            {
                "label": label,
                "exact": len(held),
                "equal": sum(each["agrees"] for each in held),
                "differing": ", ".join(e["quantity"] for e in held if not e["agrees"]),
                **{key: found.get(key, {}).get("planned") for key in SHOWN},
                "flops": found.get("flops_per_update", {}).get("planned"),
                "flops_ratio": _ratio(found.get("flops_per_update", {})),
                "peak_planned": peak.get("planned"),
                "peak_measured": peak.get("measured"),
                "peak_ratio": _ratio(peak),
            }
        )
    return sorted(rows, key=lambda row: row["label"])


def _compared(record: str) -> dict[str, dict[str, Any]] | None:
    """By quantity; None where the run has no plan, or none that can be read."""
    try:
        content = json.loads((Path(record).parent / PLAN).read_text(encoding="utf-8"))
        return {each["quantity"]: each for each in content["compared"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _ratio(compared: dict[str, Any]) -> float | None:
    measured = compared.get("measured")
    return compared["planned"] / measured if measured else None
