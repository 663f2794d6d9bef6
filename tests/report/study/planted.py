"""Studies with planted truth, as a report sees them."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import polars as pl

from lowrank_bench.protocol.study import Study
from lowrank_bench.report.allocation import SCHEMA
from lowrank_bench.report.palette import Palette
from lowrank_bench.report.study.view import View

sys.path.append(str(Path(__file__).parents[2] / "protocol"))
synthetic_study: Callable[..., Study] = import_module("synthetic_study").synthetic_study


def view_of(study: Study, ranks: pl.DataFrame | None = None) -> View:
    arms = pl.DataFrame(
        [(arm.method, arm.rank) for arm in study.ledger.arms],
        schema={"method_label": pl.String, "rank": pl.Int64},
        orient="row",
    )
    return View(study, Palette.of(arms), pl.DataFrame(schema=SCHEMA) if ranks is None else ranks)
