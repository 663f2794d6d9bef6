"""The findings of a study in sentences that a person reads first."""

from typing import Any

import polars as pl

from lowrank_bench.protocol.compare import comparisons
from lowrank_bench.protocol.equal_lr import flips, winners
from lowrank_bench.protocol.leaderboard import leaderboard
from lowrank_bench.protocol.noise import noise_floor
from lowrank_bench.protocol.seeds_needed import what_cannot_be_claimed
from lowrank_bench.protocol.study import Study
from lowrank_bench.protocol.wording import amount, bare, listed, number, plural, signed

Row = dict[str, Any]


def verdicts(
    study: Study, board: pl.DataFrame | None = None, table: pl.DataFrame | None = None
) -> list[str]:
    """The best and who ties with it, each reference, what is real, and what cannot be claimed.

    `board` and `table` are its leaderboard and comparisons, where they are at hand.
    """
    board = leaderboard(study) if board is None else board
    table = comparisons(study) if table is None else table
    return [
        *_best(board, study),
        *_references(board, table, study),
        *_refused(board),
        f"{flips(winners(study), study)}.",
        f"{noise_floor(study).text}.",
        *_cannot(study),
    ]


def sentence(row: Row, study: Study) -> str:
    """One comparison: 'lora r8 against full: -0.40 points (95 % interval -0.60 to ...): worse.'"""
    metric = study.ledger.metric
    pair = f"{row['arm']} against {row['reference']}"
    if row["verdict"] == "refused":
        return f"{pair}: refused ({row['why']})."
    between = f"95 % interval {bare(row['low'], metric)} to {bare(row['high'], metric)}"
    inside = f"{between}, {plural(row['n'], 'seed')}, Holm p {row['p_holm']:.2g}"
    difference = signed(row["mean_diff"], metric)
    return f"{pair}: {difference} ({inside}): {row['verdict']}, {row['why']}."


def _best(board: pl.DataFrame, study: Study) -> list[str]:
    ranked = board.filter("ranked").to_dicts()
    if not ranked:
        return ["No arm is ranked: no claim can be made."]
    metric = study.ledger.metric
    best, *others = ranked
    low, high = number(best["low"], metric), number(best["high"], metric)
    between = f"95 % interval {low.split()[0]} to {high.split()[0]}"
    value = f"{number(best['mean'], metric)} ({between}, {plural(best['n'], 'seed')})"
    first = f"{best['arm']} has the best mean: {value}"
    tied = [row["arm"] for row in others if row["tied_with_best"]]
    if not others:
        return [f"{first}; no other arm is ranked."]
    if not tied:
        return [f"{first}; no other ranked arm ties with it."]
    verb = "ties" if len(tied) == 1 else "tie"
    return [f"{first}; {listed(tied)} {verb} with it: no difference could be shown."]


def _references(board: pl.DataFrame, table: pl.DataFrame, study: Study) -> list[str]:
    lines = []
    for reference in table["reference"].unique(maintain_order=True):
        mine = table.filter(pl.col("reference") == reference)
        tested = mine.filter(pl.col("verdict") != "refused")
        if tested.is_empty():
            lines.append(f"Against {reference}: nothing could be tested.")
            continue
        parts = []
        for verdict in ("better", "equivalent", "worse", "undecided"):
            names = tested.filter(pl.col("verdict") == verdict)["arm"].to_list()
            if names:
                parts.append(f"{len(names)} {verdict} ({listed(names)})")
        lines.append(f"Against {reference}, of {plural(tested.height, 'arm')}: {', '.join(parts)}.")
        best = tested.sort("mean_diff", descending=True, maintain_order=True).to_dicts()[0]
        lines.append(sentence(best, study))
    return lines


def _refused(board: pl.DataFrame) -> list[str]:
    refused = board.filter(~pl.col("ranked")).to_dicts()
    return [f"{row['arm']} is not ranked: {row['reason']}." for row in refused]


def _cannot(study: Study) -> list[str]:
    rules = study.ledger.rules
    num = len(study.ledger.comparisons())
    line = what_cannot_be_claimed(len(rules.fresh_seeds), num, rules.alpha)
    margin = amount(study.ledger.margin, study.ledger.metric)
    said = f"Differences within {margin} count as equivalent"
    if study.ledger.revisions:
        changed = "; ".join(study.ledger.revisions)
        said = f"{said}. Rules were changed when there were results: {changed}."
    else:
        said = f"{said}, as was said before anything trained."
    return [said, *([f"{line}."] if line else [])]
