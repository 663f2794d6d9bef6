"""A study with all that its figures and tables are drawn from, each computed once."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from lowrank_bench.protocol import tables
from lowrank_bench.protocol.frontier import forgetting_frontier, frontier
from lowrank_bench.protocol.study import FINAL, Study
from lowrank_bench.report.metric import CANDIDATES, OF_SOURCE, Metric
from lowrank_bench.report.palette import Palette

FINISHED = pl.col("status") == "finished"


@dataclass(frozen=True)
class View:
    study: Study
    palette: Palette
    ranks: pl.DataFrame  # what allocators gave to each layer of finals: allocation.SCHEMA

    @cached_property
    def metric(self) -> Metric:
        """What is compared."""
        return next(m for m in CANDIDATES if f"selected_{m.column}" == self.study.test)

    @cached_property
    def val(self) -> Metric:
        """What was tuned on."""
        return next(m for m in CANDIDATES if f"selected_{m.column}" == self.study.val)

    @cached_property
    def source(self) -> Metric | None:
        """What was kept of the base's source: accuracy where it is known, else loss."""
        return next((m for m in OF_SOURCE if self._is_known(f"selected_{m.column}")), None)

    def _is_known(self, column: str) -> bool:
        return self.finals[column].is_not_null().any()

    @cached_property
    def arms(self) -> pl.DataFrame:
        """One row an arm in the ledger's order."""
        rows = [(arm.name, arm.method, arm.rank) for arm in self.study.ledger.arms]
        schema = {"arm": pl.String, "method_label": pl.String, "rank": pl.Int64}
        return pl.DataFrame(rows, schema=schema, orient="row")

    @cached_property
    def by_arm(self) -> dict[str, dict[str, Any]]:
        return {row["arm"]: row for row in self.arms.to_dicts()}

    @cached_property
    def finals(self) -> pl.DataFrame:
        return self.study.stage(FINAL).filter(FINISHED)

    @cached_property
    def tables(self) -> dict[str, pl.DataFrame]:
        """The same whenever the study is run again."""
        return tables.tables(self.study)

    @cached_property
    def measured(self) -> dict[str, pl.DataFrame]:
        """What a clock or an allocator had a part in."""
        return tables.measured(self.study)

    @property
    def trials(self) -> pl.DataFrame:
        return self.tables["trials"]

    @property
    def sensitivity(self) -> pl.DataFrame:
        return self.tables["sensitivity"]

    @property
    def leaderboard(self) -> pl.DataFrame:
        return self.tables["leaderboard"]

    @property
    def comparisons(self) -> pl.DataFrame:
        return self.tables["comparisons"]

    @property
    def winners(self) -> pl.DataFrame:
        return self.tables["equal_lr"]

    @property
    def slices(self) -> pl.DataFrame:
        return pl.concat([self.tables["slices"], self.measured["memory_slices"]])

    def frontier(self, cost: str) -> pl.DataFrame:
        return frontier(self.study, cost)

    @cached_property
    def forgetting(self) -> pl.DataFrame:
        return forgetting_frontier(self.study)

    @property
    def ranks_tried(self) -> list[int | None]:
        """In their order, what has no rank last."""
        ranked = self.arms["rank"].drop_nulls().unique().sort().to_list()
        return [*ranked, *([None] if self.arms["rank"].null_count() else [])]


def of_rank(rank: int | None) -> pl.Expr:
    return pl.col("rank").is_null() if rank is None else pl.col("rank") == rank


def rank_title(rank: int | None) -> str:
    return "Without a rank" if rank is None else f"Rank {rank}"
