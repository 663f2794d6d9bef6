"""How the settings were found, and what went wrong, as tables."""

import polars as pl

from lowrank_bench.report.study import cells, words
from lowrank_bench.report.study.tables import METHOD, RANK
from lowrank_bench.report.study.view import View
from lowrank_bench.report.study_part import Cell, Column, PageTable


def equal_lr(view: View) -> PageTable:
    val = view.val
    return PageTable(
        title="Winner at each common learning rate",
        caption=(
            f"By {val.title.lower()}, means over tuning seeds, default knobs. Arms without a rank "
            "take part at every rank."
        ),
        columns=[
            Column("at", "At rank"),
            Column("lr", "LR", numeric=True),
            Column("winner", "Winner"),
            Column("value", val.title, numeric=True),
            Column("second", "Next"),
            Column("second_value", val.title, numeric=True),
            Column("num_arms", "Arms", numeric=True, tip="that tried this learning rate"),
            Column("same", "Wins tuned, too"),
            Column("ahead", "Ahead of that", numeric=True, tip="of the tuned winner, at this LR"),
        ],
        rows=[
            {
                **{key: row[key] for key in ("winner", "second", "num_arms")},
                "at": "all" if row["rank"] is None else f"r{row['rank']}",
                "lr": cells.plain(row["lr"]),
                "value": cells.value(val, row["value"]),
                "second_value": cells.value(val, row["second_value"]),
                "same": row["is_tuned_winner"],
                "ahead": cells.difference(val, row["ahead"]),
            }
            for row in view.winners.to_dicts()
        ],
        folded=True,
    )


def tuning(view: View) -> PageTable:
    return PageTable(
        title="Tuning: what was spent, and how it lies",
        caption=(
            "Good range: of learning rates around the best, those that lose at most "
            f"{words.near(view.val)}, in decades; ≥ where it reaches the end of what was tried. "
            "Diverged: of the tuning runs."
        ),
        columns=[
            METHOD,
            RANK,
            Column("lr", "Best LR", numeric=True),
            Column("val", view.val.title, numeric=True),
            Column("band", "Good range", numeric=True),
            Column("edge", "On the edge"),
            Column("trials", "Trials", numeric=True),
            Column("lrs", "LRs", numeric=True),
            Column("diverged", "Diverged", numeric=True),
            Column("runs", "Runs", numeric=True),
            Column("updates", "Updates", numeric=True),
            Column("flops", "FLOPs", numeric=True),
            Column("seconds", "Time", numeric=True),
        ],
        rows=[
            {
                "method": row["method"],
                "rank": row["rank"],
                "lr": cells.plain(row["best_lr"]),
                "val": cells.value(view.val, row["best_val"]),
                "band": _band(row["band_decades"], row["at_least"]),
                "edge": Cell(row["on_edge"] or "no", is_bad=row["on_edge"] is not None),
                "trials": row["num_trials"],
                "lrs": row["num_lrs"],
                "diverged": _share(row["divergence_rate"]),
                "runs": row["runs"],
                "updates": cells.whole(row["updates"]),
                "flops": cells.short(row["flops"]),
                "seconds": cells.seconds(row["tuning_seconds"]),
            }
            for row in view.sensitivity.join(
                view.measured["costs"].select("arm", "tuning_seconds"), on="arm"
            ).to_dicts()
        ],
        folded=True,
    )


def _band(decades: float | None, at_least: bool | None) -> Cell:
    if decades is None:
        return Cell("–")
    return Cell(f"{'≥ ' if at_least else ''}{decades:.2f}", decades)


def _share(rate: float | None) -> Cell:
    return Cell("–") if rate is None else Cell(f"{100 * rate:.0f} %", rate, is_bad=rate > 0)


def trials(view: View) -> PageTable:
    return PageTable(
        title=f"All {len(view.trials)} trials",
        caption=(
            f"{view.val.title}: mean over the tuning seeds that finished, and the smallest and "
            "largest of them."
        ),
        columns=[
            METHOD,
            RANK,
            Column("setting", "Setting"),
            Column("lr", "LR", numeric=True),
            Column("mean", view.val.title, numeric=True),
            Column("range", "Range", numeric=True),
            Column("n", "n", numeric=True, tip="tuning seeds that finished"),
            Column("lost", "Diverged, failed", numeric=True),
            Column("selected", "Selected"),
        ],
        rows=[
            {
                "method": row["method"],
                "rank": row["rank"],
                "setting": cells.setting(row["setting"]),
                "lr": cells.plain(row["lr"]),
                "mean": cells.value(view.val, row["mean"]),
                "range": cells.between(view.val, row["low"], row["high"]),
                "n": row["n"],
                "lost": Cell(
                    f"{row['diverged']}, {row['failed']}",
                    row["diverged"] + row["failed"],
                    is_bad=row["diverged"] + row["failed"] > 0,
                ),
                "selected": "yes" if row["selected"] else "",
            }
            for row in view.trials.to_dicts()
        ],
        folded=True,
    )


def failures(view: View) -> PageTable:
    """Receipts and statuses of the arms' runs: only arms with something to say."""
    status = pl.col("status")
    counted = view.study.runs.group_by("arm", "stage", maintain_order=True).agg(
        pl.len().alias("runs"),
        (status == "diverged").sum().alias("diverged"),
        (~status.is_in(["finished", "diverged"])).sum().alias("failed"),
        (pl.col("num_failed_receipts") > 0).sum().alias("receipts"),
    )
    bad = counted.filter(pl.sum_horizontal("diverged", "failed", "receipts") > 0)
    joined = bad.join(view.arms, on="arm", how="left", maintain_order="left")
    return PageTable(
        title="Receipts and failures",
        caption=(
            f"Runs of which something is amiss; of {len(view.study.runs)} runs "
            f"{len(view.study.runs.filter(status == 'finished'))} finished. A failed receipt says "
            "that a method did not act as it should."
        ),
        columns=[
            METHOD,
            RANK,
            Column("stage", "Stage"),
            Column("runs", "Runs", numeric=True),
            Column("diverged", "Diverged", numeric=True),
            Column("failed", "Failed", numeric=True),
            Column("receipts", "With failed receipts", numeric=True),
        ],
        rows=[
            {
                "method": row["method_label"],
                "bad": row["receipts"] > 0,
                **{k: row[k] for k in ("rank", "stage", "runs", "diverged", "failed", "receipts")},
            }
            for row in joined.to_dicts()
        ],
        folded=True,
    )


def protocol(view: View) -> PageTable:
    """What was decided before the first run, so that it can be held against what is claimed."""
    ledger = view.study.ledger
    rules = ledger.rules
    said = {
        "Search": f"{rules.search}, {rules.trials} trials an arm, {rules.per_decade} a decade",
        "Tuning seeds": _numbers(rules.tuning_seeds),
        "Fresh seeds": _numbers(rules.fresh_seeds),
        "References": ", ".join(rules.references),
        "Comparisons": str(len(ledger.comparisons())),
        "Familywise error rate": f"{rules.alpha:g}",
        "Equivalence margin": ", ".join(f"{k} {v:g}" for k, v in rules.margins.items()),
        "Duplicated finals": str(rules.duplicates),
        "Arms": ", ".join(arm.name for arm in ledger.arms),
        "Control": ledger.control_hash,
    }
    return PageTable(
        title="The protocol, as it was declared",
        caption="",
        columns=[Column("rule", "Rule"), Column("value", "Declared", wide=True)],
        rows=[{"rule": rule, "value": value} for rule, value in said.items()],
        folded=True,
    )


def _numbers(seeds: tuple[int, ...]) -> str:
    return ", ".join(map(str, seeds))
