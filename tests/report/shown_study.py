"""A report on a small study in which every kind of figure and table is."""

from pathlib import Path
from typing import Any

import pytest
from synthetic_records import changed, write

from lowrank_bench.report import build
from lowrank_bench.report.figure import Datasets, Figure, layered
from lowrank_bench.report.study_part import Cell, Column, PageTable, StudyPart

METHODS = ("dora", "lora", "pissa")
RANKS = (1, 4, 16)
SEEDS = 2
CONFIGURATIONS = 1 + len(METHODS) * len(RANKS)  # of each of the two controls
TRIED = 130  # rows of the study's folded table: more than a table begins with


def shown_study(root: Path) -> Path:
    """Write runs of two controls and their report below `root`; return its page."""
    runs = root / "runs"
    for control in range(2):
        for seed in range(SEEDS):
            given = {
                "control_hash": f"control-{control}",
                "control": {"data": {"name": "digits"}, "budget": {"batch_size": 64 + control}},
                "seed": seed,
            }
            _write(runs, "full", None, 0.80 + 0.01 * seed - 0.1 * control, given)
            for i, method in enumerate(METHODS):
                for rank in RANKS:
                    accuracy = 0.6 + 0.03 * rank**0.5 + 0.02 * i + 0.01 * seed - 0.1 * control
                    _write(runs, method, rank, accuracy, given)
    write(runs, method="lora", rank=16, seed=7, accuracy=None, status="diverged", **_first())
    failed = {"moved": {"ok": False, "value": 0, "note": "role lora_B stood still"}}
    write(runs, method="dora", rank=4, seed=7, accuracy=0.5, receipts=failed, **_first())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "parts", lambda paths, loaded: studies())
        return build.report([runs], root / "out")


def _first() -> dict[str, Any]:
    return {
        "control_hash": "control-0",
        "control": {"data": {"name": "digits"}, "budget": {"batch_size": 64}},
    }


def _write(
    runs: Path, method: str, rank: int | None, accuracy: float, given: dict[str, Any]
) -> None:
    write(
        runs,
        method=method,
        rank=rank,
        accuracy=accuracy,
        curve=[0.1, 0.5 * accuracy, 0.9 * accuracy, accuracy],
        trainable=3000 * rank if rank else 600_000,
        change=changed(0.7 * rank if rank else 30.0),
        source=(0.9, 0.9 - 0.02 * (rank or 64) ** 0.5),
        receipts={"moved": {"ok": True, "value": 1, "note": ""}},
        **given,
    )


def studies() -> list[StudyPart]:
    verdicts = PageTable(
        title="Comparisons",
        caption="Paired over seeds.",
        columns=[
            Column("method", "Method"),
            Column("rank", "Rank", numeric=True),
            Column("gain", "Gain", numeric=True, tip="points over full"),
        ],
        rows=[
            {"method": "dora", "rank": 4, "gain": Cell("−9.0 ± 1", -9.0, is_bad=True)},
            {"method": "full", "rank": None, "gain": None},
            {"method": "pissa", "rank": 16, "gain": Cell("+10.0 ± 1", 10.0)},
            {"method": "lora", "rank": 16, "gain": Cell("+2.0 ± 1", 2.0)},
        ],
    )
    tried = PageTable(
        title="What was tried",
        caption="",
        columns=[Column("trial", "Trial", numeric=True)],
        rows=[{"trial": trial} for trial in range(TRIED)],
        folded=True,
    )
    return [
        StudyPart(
            1,
            "Study: digits",
            ["pissa r16 beats full", "The others tie."],
            ["lora r16 is not ranked"],
            [_gains()],
            [verdicts, tried],
            control="control-0",
            files={"study-1.md": b"| a |\n"},
        )
    ]


def _gains() -> Figure:
    data = Datasets()
    values = [{"method": m, "rank": r, "gain": r} for m in METHODS for r in RANKS]
    chart = data.chart("gains", values).mark_point().encode(x="gain:Q", y="method:N")
    return Figure("gains", "pissa gains most", "Over full.", [layered("", [chart])], data.by_name)
