"""What tuning tried and found: one row a trial, one row an arm. Validation data alone."""

import json
import math
from itertools import groupby
from typing import Any

import numpy as np
import polars as pl

from lowrank_bench.protocol.finals import mean
from lowrank_bench.protocol.ledger import Arm, Setting
from lowrank_bench.protocol.study import TUNE, Study

RESULTS = ("finished", "diverged")
ONE_POINT = {"accuracy": 0.01, "loss": 0.02}  # a loss in nats

Row = dict[str, Any]

TRIALS = pl.Schema(
    {
        "arm": pl.String,
        "method": pl.String,
        "rank": pl.Int64,
        "trial": pl.Int64,
        "setting": pl.String,  # JSON
        "lr": pl.Float64,
        "knobs": pl.String,  # 'optimizer.ratio=4', empty without
        "n": pl.Int64,  # runs that finished
        "n_wanted": pl.Int64,
        "mean": pl.Float64,  # of validation, over the runs that finished
        "sd": pl.Float64,
        "low": pl.Float64,  # smallest and largest of the seeds
        "high": pl.Float64,
        "diverged": pl.Int64,
        "failed": pl.Int64,
        "selected": pl.Boolean,
    }
)
SENSITIVITY = pl.Schema(
    {
        "arm": pl.String,
        "method": pl.String,
        "rank": pl.Int64,
        "best_lr": pl.Float64,  # of the selected setting
        "best_setting": pl.String,
        "best_val": pl.Float64,
        "num_trials": pl.Int64,  # that gave a result
        "num_lrs": pl.Int64,  # that gave a result
        "on_edge": pl.String,  # low, high
        "band_low": pl.Float64,
        "band_high": pl.Float64,
        "band_decades": pl.Float64,
        "at_least": pl.Boolean,  # the band touches the end of what was tried
        "divergence_rate": pl.Float64,  # of the runs that gave a result
        "runs": pl.Int64,
        "updates": pl.Float64,  # sums over the arm's tuning runs
        "flops": pl.Float64,
        "seconds": pl.Float64,
    }
)


def trials(study: Study) -> pl.DataFrame:
    """One row a trial that the ledger names, with or without runs; columns TRIALS."""
    runs = tuning_runs(study)
    wanted = len(study.ledger.rules.tuning_seeds)
    rows = []
    for arm in study.ledger.arms:
        for i, trial in enumerate(arm.trials):
            mine = runs.get((arm.name, i), [])
            states = [row["status"] for row in mine]
            found = np.array([row["val"] for row in mine if row["val"] is not None])
            many = len(found) > 1
            rows.append(
                {
                    "arm": arm.name,
                    "method": arm.method,
                    "rank": arm.rank,
                    "trial": i,
                    "setting": json.dumps(trial.setting),
                    "lr": _lr(trial.setting),
                    "knobs": knobs(trial.setting),
                    "n": len(found),
                    "n_wanted": wanted,
                    "mean": mean(found),
                    "sd": float(found.std(ddof=1)) if many else None,
                    "low": float(found.min()) if len(found) else None,
                    "high": float(found.max()) if len(found) else None,
                    "diverged": states.count("diverged"),
                    "failed": sum(state not in RESULTS for state in states),
                    "selected": i == arm.selected,
                }
            )
    return pl.DataFrame(rows, schema=TRIALS, orient="row")


def sensitivity(study: Study, table: pl.DataFrame | None = None) -> pl.DataFrame:
    """One row an arm: its best learning rate, how much it matters, what tuning cost.

    The band is the range of tried learning rates around the best whose mean is within ONE_POINT
    of it, without a gap and without a diverged run, all other knobs at their defaults.

    In `updates` and `flops` a run that does not know its own (it diverged, or was resumed) counts
    as a whole one of its setting: what it might have taken. Seconds are null if any are unknown.
    `table` are the study's trials, where they are at hand.
    """
    runs = tuning_runs(study)
    table = trials(study) if table is None else table
    by_arm = {name: list(rows) for name, rows in groupby(table.to_dicts(), lambda r: r["arm"])}
    rows = []
    for arm in study.ledger.arms:
        mine = by_arm.get(arm.name, [])
        own = [run for i in range(len(arm.trials)) for run in runs.get((arm.name, i), [])]
        results = [run for run in own if run["status"] in RESULTS]
        diverged = sum(run["status"] == "diverged" for run in results)
        tried = [row for row in mine if row["n"] + row["diverged"] > 0]
        rows.append(
            {
                "arm": arm.name,
                "method": arm.method,
                "rank": arm.rank,
                "num_trials": len(tried),
                "num_lrs": len({row["lr"] for row in tried}),
                "divergence_rate": diverged / len(results) if results else None,
                "runs": len(own),
                "updates": _total(own, "num_updates", fill=True),
                "flops": _total(own, "train_flops", fill=True),
                "seconds": _total(own, "train_seconds", fill=False),
            }
            | _best(arm, mine, tried)
            | _band(tried, study)
        )
    return pl.DataFrame(rows, schema=SENSITIVITY, orient="row")


def tuning_runs(study: Study) -> dict[tuple[str, int], list[Row]]:
    """By arm and trial, seeds rising. `val` is null unless the run finished under the control."""
    metric = study.ledger.metric
    known = (pl.col("status") == "finished") & (pl.col("control_hash") == study.ledger.control_hash)
    value = pl.col(study.val) if metric else pl.lit(None, pl.Float64)
    columns = ("arm", "trial", "seed", "status", "num_updates", "train_flops", "train_seconds")
    rows = (
        study.stage(TUNE)
        .sort("arm", "trial", "seed")
        .select(*columns, pl.when(known).then(value).alias("val"))
        .to_dicts()
    )
    return {key: list(run) for key, run in groupby(rows, lambda r: (r["arm"], r["trial"]))}


def knobs(setting: Setting) -> str:
    """What a setting sets beside the learning rate: 'optimizer.ratio=4, transform.gap=50'."""
    extra = {key: value for key, value in setting.items() if key != "lr"}
    return ", ".join(f"{key.removeprefix('method.')}={value}" for key, value in extra.items())


def _lr(setting: Setting) -> float | None:
    return None if setting.get("lr") is None else float(setting["lr"])


def _best(arm: Arm, mine: list[Row], tried: list[Row]) -> Row:
    if arm.selected is None or arm.selected >= len(mine):
        return {}
    best = mine[arm.selected]
    lrs = [row["lr"] for row in tried if row["lr"] is not None]
    edge = None
    if lrs and best["lr"] is not None:
        edge = {min(lrs): "low", max(lrs): "high"}.get(best["lr"])
    return {
        "best_lr": best["lr"],
        "best_setting": best["setting"],
        "best_val": best["mean"],
        "on_edge": edge,
    }


def _band(tried: list[Row], study: Study) -> Row:
    plain = sorted(
        (row for row in tried if not row["knobs"] and row["lr"]), key=lambda row: row["lr"]
    )
    sign = study.ledger.sign
    whole = [i for i, row in enumerate(plain) if row["mean"] is not None and not row["diverged"]]
    if not whole:
        return {}
    best = max(whole, key=lambda i: sign * plain[i]["mean"])
    floor = sign * plain[best]["mean"] - ONE_POINT[study.ledger.metric or "accuracy"]
    inside = [i in whole and sign * row["mean"] >= floor for i, row in enumerate(plain)]
    low = high = best
    while low > 0 and inside[low - 1]:
        low -= 1
    while high + 1 < len(plain) and inside[high + 1]:
        high += 1
    return {
        "band_low": plain[low]["lr"],
        "band_high": plain[high]["lr"],
        "band_decades": round(math.log10(plain[high]["lr"] / plain[low]["lr"]), 6),
        "at_least": low == 0 or high == len(plain) - 1,
    }


def _total(runs: list[Row], name: str, *, fill: bool) -> float | None:
    """None where a part is unknown: a sum without it would be too small."""
    by_trial: dict[int, float] = {}
    for run in runs:
        if run[name] is not None:
            by_trial[run["trial"]] = max(run[name], by_trial.get(run["trial"], 0.0))
    most = max(by_trial.values(), default=None)
    parts = [
        by_trial.get(run["trial"], most) if fill and run[name] is None else run[name]
        for run in runs
    ]
    known = [part for part in parts if part is not None]
    return math.fsum(known) if parts and len(known) == len(parts) else None
