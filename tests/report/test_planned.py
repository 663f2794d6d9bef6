"""The section of the report that holds plans against runs."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from lowrank_bench.record import PLAN
from lowrank_bench.report.planned import planned


class Section:
    """As much of one as the table reads."""

    def __init__(self, *rows: tuple[str, int, Path]) -> None:
        self.runs = pl.DataFrame(
            [(label, seed, str(folder / "record.json")) for label, seed, folder in rows],
            schema=["label", "seed", "path"],
            orient="row",
        )


def compared(quantity: str, plan: float, measured: float, agrees: bool | None) -> dict[str, Any]:
    return {"quantity": quantity, "planned": plan, "measured": measured, "agrees": agrees}


def keep(folder: Path, *found: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / PLAN).write_text(json.dumps({"plan": {}, "compared": found}))
    return folder


def test_a_configuration_is_told_by_its_first_planned_run(tmp_path: Path) -> None:
    (tmp_path / "without").mkdir()
    found = keep(
        tmp_path / "with",
        compared("weight_bytes", 100, 100, True),
        compared("gradient_bytes", 100, 96, False),
        compared("peak_memory_bytes", 330, 300, None),
        compared("flops_per_update", 50, 50, None),
    )
    section: Any = Section(("lora r4", 0, tmp_path / "without"), ("lora r4", 1, found))
    (row,) = planned(section)
    assert (row["label"], row["equal"], row["exact"]) == ("lora r4", 1, 2)
    assert row["differing"] == "gradient_bytes"
    assert (row["peak_ratio"], row["flops_ratio"]) == (1.1, 1.0)
    assert row["optimizer_state_bytes"] is None


def test_without_plans_there_is_no_section(tmp_path: Path) -> None:
    section: Any = Section(("full", 0, tmp_path))
    assert planned(section) == []


def test_a_plan_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"compared": [{"planned": 1}]}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / PLAN).write_text(text)
    section: Any = Section(*((name, 0, tmp_path / name) for name in "abc"))
    assert planned(section) == []
