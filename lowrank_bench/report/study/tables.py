"""What finals showed, as tables: places, comparisons, budgets."""

from typing import Any

import polars as pl

from lowrank_bench.protocol.wording import listed
from lowrank_bench.report.study import cells, words
from lowrank_bench.report.study.budgets import budget
from lowrank_bench.report.study.view import View
from lowrank_bench.report.study_part import Cell, Column, PageTable

METHOD, RANK = Column("method", "Method"), Column("rank", "Rank", numeric=True)
KINDS = {"rank": "rank", "parameters": "parameters", "memory": "memory", "flops": "FLOPs"}


def leaderboard(view: View) -> PageTable:
    metric = view.metric
    return PageTable(
        title="Leaderboard",
        caption=(
            f"{metric.title} of finals over fresh seeds, with the bootstrap 95 % interval of the "
            "mean. 'Ties': not told apart from the first by exact paired tests after Holm. "
            "Tuning FLOPs: all that was spent on finding the setting."
        ),
        columns=[
            Column("place", "Place", numeric=True),
            METHOD,
            RANK,
            Column("mean", metric.title, numeric=True),
            Column("interval", "95 % interval", numeric=True),
            Column("n", "n", numeric=True, tip="fresh seeds"),
            Column("setting", "Setting"),
            Column("trainable", "Trainable", numeric=True, tip="trainable parameters"),
            Column("state", "Optimizer state", numeric=True),
            Column("flops", "Training FLOPs", numeric=True),
            Column("tuning", "Tuning FLOPs", numeric=True),
            Column("reason", "Why not ranked", wide=True),
        ],
        rows=[_placed(view, row) for row in view.leaderboard.to_dicts()],
    )


def _placed(view: View, row: dict[str, Any]) -> dict[str, Any]:
    place = Cell("unranked")
    if row["place"] is not None:
        ties = " (ties)" if row["tied_with_best"] and row["place"] > 1 else ""
        place = Cell(f"{row['place']}{ties}", row["place"])
    return {
        "place": place,
        "method": row["method"],
        "rank": row["rank"],
        "mean": cells.value(view.metric, row["mean"]),
        "interval": cells.between(view.metric, row["low"], row["high"]),
        "n": row["n"],
        "setting": cells.setting(row["setting"]),
        "trainable": cells.whole(row["trainable"]),
        "state": cells.in_bytes(row["optimizer_state_bytes"]),
        "flops": cells.short(row["train_flops"]),
        "tuning": cells.short(row["tuning_flops"]),
        "reason": Cell(row["reason"] or "", is_bad=bool(row["reason"])),
    }


def comparisons(view: View) -> PageTable:
    metric, alpha = view.metric, view.study.ledger.rules.alpha
    margin = words.amount(metric, view.study.ledger.margin)
    joined = view.comparisons.join(view.arms, on="arm", how="left", maintain_order="left")
    return PageTable(
        title="Paired comparisons",
        caption=(
            f"Differences in {metric.title.lower()} ({words.unit(metric)}; above zero is "
            "better than the reference) over shared fresh seeds. p: exact, two-sided; Holm: "
            f"corrected over all comparisons of the study, held against {alpha:g}. Equivalent: "
            f"within {margin}, declared beforehand. Wins, ties and losses count seeds."
        ),
        columns=[
            Column("reference", "Reference"),
            Column("arm", "Arm"),
            Column("difference", f"Difference ({words.unit(metric)})", numeric=True),
            Column("interval", "95 % interval", numeric=True),
            Column("n", "n", numeric=True, tip="paired seeds"),
            Column("p", "p", numeric=True),
            Column("p_holm", "p (Holm)", numeric=True),
            Column("score", "Win–tie–loss", numeric=True),
            Column("verdict", "Verdict"),
            Column("why", "Why", wide=True),
        ],
        rows=[
            {
                **{key: row[key] for key in ("reference", "arm", "rank", "n", "why")},
                "method": row["method_label"],
                "difference": cells.difference(metric, row["mean_diff"]),
                "interval": cells.interval(metric, row["low"], row["high"]),
                "p": cells.p(row["p"]),
                "p_holm": cells.p(row["p_holm"]),
                "score": _score(row),
                "verdict": Cell(row["verdict"], is_bad=row["verdict"] == "refused"),
            }
            for row in joined.to_dicts()
        ],
    )


def _score(row: dict[str, Any]) -> Cell:
    if row["wins"] is None:
        return Cell("–")
    return Cell(f"{row['wins']}–{row['ties']}–{row['losses']}", row["wins"] - row["losses"])


def slices(view: View) -> PageTable:
    metric = view.metric
    of_memory = view.slices.filter(pl.col("kind") == "memory")["measured"].drop_nulls().unique()
    memory = listed([each.replace("_", " ") for each in of_memory.sort()])
    return PageTable(
        title="The best within each budget",
        caption=(
            "Lead: bootstrap 95 % interval of the paired difference to the next best "
            f"({words.unit(metric)}); p: exact, uncorrected."
            + (f" Memory: {memory}." if memory else "")
        ),
        columns=[
            Column("kind", "Equal"),
            Column("budget", "Budget"),
            Column("winner", "Best"),
            Column("value", metric.title, numeric=True),
            Column("second", "Next"),
            Column("lead", "Lead", numeric=True),
            Column("p", "p", numeric=True),
            Column("real", "Told apart", tip="at 5 %, uncorrected"),
            Column("num_arms", "Arms", numeric=True, tip="that fit into the budget"),
        ],
        rows=[
            {
                **{key: row[key] for key in ("winner", "second", "num_arms")},
                "kind": KINDS.get(row["kind"], row["kind"]),
                "budget": Cell(budget(row), row["budget"]),
                "value": cells.value(metric, row["value"]),
                "lead": cells.interval(metric, row["low"], row["high"]),
                "p": cells.p(row["p"]),
                "real": row["is_real"],
            }
            for row in view.slices.to_dicts()
        ],
        folded=True,
    )
