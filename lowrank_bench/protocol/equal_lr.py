"""Who would have won, had all been given one learning rate: how much a ranking owes to tuning."""

from typing import Any

import polars as pl

from lowrank_bench.protocol.finals import DIGITS
from lowrank_bench.protocol.ledger import Arm
from lowrank_bench.protocol.study import Study
from lowrank_bench.protocol.tuning import trials
from lowrank_bench.protocol.wording import amount

Row = dict[str, Any]

WINNERS = pl.Schema(
    {
        "rank": pl.Int64,
        "lr": pl.Float64,
        "winner": pl.String,
        "value": pl.Float64,  # mean of validation over the tuning seeds
        "second": pl.String,
        "second_value": pl.Float64,
        "num_arms": pl.Int64,  # that tried this learning rate
        "is_tuned_winner": pl.Boolean,
        "ahead": pl.Float64,  # of the tuned winner at this rate; null where that did not try it
    }
)


def winners(study: Study) -> pl.DataFrame:
    """One row a rank and learning rate that at least two of its arms tried; columns WINNERS.

    Means of validation over the tuning seeds, of trials with default knobs whose runs all
    finished. Arms without a rank join the contest of every rank; where no arm has a rank there is
    one contest, of rank null. The tuned winner of a contest is the arm whose selected setting has
    the best mean, of validation too.
    """
    table = [row for row in trials(study).to_dicts() if row["n"] == row["n_wanted"]]
    sign = study.ledger.sign
    ranks = sorted({arm.rank for arm in study.ledger.arms if arm.rank is not None})
    rows: list[Row] = []
    for rank in ranks or [None]:
        contest = {arm.name for arm in study.ledger.arms if _joins(arm, rank)}
        mine = [row for row in table if row["arm"] in contest]
        tuned = _by_value([row for row in mine if row["selected"]], sign)
        champion = tuned[0]["arm"] if tuned else None
        plain = [row for row in mine if not row["knobs"] and row["lr"] is not None]
        for lr in sorted({row["lr"] for row in plain}):
            first, *others = _by_value([row for row in plain if row["lr"] == lr], sign)
            if others:
                rows.append(
                    {
                        "rank": rank,
                        "lr": lr,
                        "winner": first["arm"],
                        "value": first["mean"],
                        "second": others[0]["arm"],
                        "second_value": others[0]["mean"],
                        "num_arms": 1 + len(others),
                        "is_tuned_winner": first["arm"] == champion,
                        "ahead": _ahead([first, *others], champion),
                    }
                )
    return pl.DataFrame(rows, schema=WINNERS, orient="row")


def flips(frame: pl.DataFrame, study: Study | None = None) -> str:
    """One line on what `winners` found; with the study, how many of the flips exceed its margin."""
    if frame.is_empty():
        return "No two arms tried a common learning rate, so that nothing can be said at equal ones"
    tried = frame.filter(pl.col("ahead").is_not_null())  # by the tuned winner
    if tried.is_empty():
        return "No tuned winner tried a rate that another arm tried too"
    lost = tried.filter(~pl.col("is_tuned_winner"))
    several = frame["rank"].n_unique() > 1
    rates = f"{tried.height} {'pairs of a rank and a common rate' if several else 'common rates'}"
    line = f"At {lost.height} of {rates} that the tuned winner tried another arm would have won"
    if study is not None and lost.height:
        large = int((lost["ahead"] > study.ledger.margin).sum())
        margin = amount(study.ledger.margin, study.ledger.metric)
        line += f", at {large or 'none'} of them by more than {margin}"
    if apart := frame.height - tried.height:
        line += f"; at {apart} more it took no part"
    return line


def _joins(arm: Arm, rank: int | None) -> bool:
    return arm.rank is None or arm.rank == rank


def _ahead(rows: list[Row], champion: str | None) -> float | None:
    """How far the first of rows is before the champion, if that is among them."""
    its = [row["mean"] for row in rows if row["arm"] == champion]
    return round(abs(rows[0]["mean"] - its[0]), DIGITS) if its else None


def _by_value(rows: list[Row], sign: int) -> list[Row]:
    return sorted(rows, key=lambda row: -sign * row["mean"])
