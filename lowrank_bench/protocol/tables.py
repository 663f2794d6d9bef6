"""All tables of a study by name."""

import polars as pl

from lowrank_bench.protocol.compare import comparisons
from lowrank_bench.protocol.equal_lr import winners
from lowrank_bench.protocol.guards import standing
from lowrank_bench.protocol.leaderboard import costs, leaderboard
from lowrank_bench.protocol.slices import slices
from lowrank_bench.protocol.study import Study
from lowrank_bench.protocol.tuning import sensitivity, trials

MEASURED = pl.col("measured") == "peak_memory_bytes"


def tables(study: Study) -> dict[str, pl.DataFrame]:
    """Those that are the same, byte for byte, whenever the study is run again on one machine.

    So there is nothing in them that a clock or an allocator said.
    """
    return {
        "leaderboard": leaderboard(study),
        "comparisons": comparisons(study),
        "trials": trials(study),
        "sensitivity": sensitivity(study).drop("seconds"),
        "equal_lr": winners(study),
        "slices": slices(study).filter(~MEASURED),
        "standing": standing(study).with_columns(pl.col("reasons").list.join("; ")),
    }


def measured(study: Study) -> dict[str, pl.DataFrame]:
    """What was measured on the machine, and what is judged by it."""
    return {"costs": costs(study), "memory_slices": slices(study).filter(MEASURED)}
