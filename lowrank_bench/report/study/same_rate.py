"""Which method would have won, had all shared one learning rate."""

from typing import Any

import altair as alt
import polars as pl

from lowrank_bench.protocol.equal_lr import flips
from lowrank_bench.report import encoding
from lowrank_bench.report.figure import Datasets, Figure, Values, layered
from lowrank_bench.report.study import words
from lowrank_bench.report.study.view import View

ROW = 34  # pixels a learning rate
TUNED = "tuned"
SAME, APART, OTHER = 0.12, 0.3, 0.58  # how full a tile is


def same_rate(view: View) -> Figure | None:
    """A row a learning rate, a tile a rank; None where no rate was tried by two arms."""
    frame = view.winners
    if frame.is_empty():
        return None
    values = _values(view, frame)
    lrs = [f"{lr:g}" for lr in frame["lr"].unique().sort()]
    ranks = list(dict.fromkeys(v["rank_of"] for v in values))
    data = Datasets()
    bare: dict[str, Any] = {"ticks": False, "domain": False, "labelOverlap": False}
    x = alt.X(
        "rank_of:N",
        title=None,
        sort=ranks,
        scale=alt.Scale(domain=ranks, paddingInner=0.03),
        axis=alt.Axis(labelAngle=0, orient="top", **bare),
    )
    y = alt.Y(
        "lr:N",
        title="Learning rate that all share",
        sort=[*lrs, TUNED],
        scale=alt.Scale(domain=[*lrs, TUNED], paddingInner=0.08),
        axis=alt.Axis(**bare),
    )
    base = data.chart("winners", values).encode(x=x, y=y)
    tooltip = [
        alt.Tooltip("label:N", title="wins"),
        alt.Tooltip("text:N", title=view.val.title.lower()),
        alt.Tooltip("second:N", title="next best"),
        alt.Tooltip("num:Q", title="arms that tried it"),
    ]
    layers = [
        base.mark_rect(cornerRadius=3, strokeWidth=2).encode(
            color=encoding.colour(view.arms, view.palette).legend(None),
            fillOpacity=alt.FillOpacity("fill:Q", scale=None),
            tooltip=tooltip,
        ),
        base.mark_text(style="ink", fontSize=10, fontWeight=600, dy=-5, limit=84).encode(
            text="method:N"
        ),
        base.mark_text(style="ink", fontSize=10, dy=7).encode(text="text:N"),
    ]
    return Figure(
        name="same-rate",
        finding=flips(frame, view.study),
        caption=(
            "The best of all arms that were tried at a learning rate, by the mean over tuning "
            f"seeds on validation data, and last the best when each has its own ({TUNED}). Arms "
            "without a rank take part at every rank. Pale: the tuned winner. Full: another, where "
            "the tuned winner was tried too; half: where it was not."
        ),
        panels=[layered("", layers, ROW * (len(lrs) + 1))],
        datasets=data.by_name,
    )


def _values(view: View, frame: pl.DataFrame) -> Values:
    values = []
    for row in frame.sort("rank", "lr", nulls_last=True).to_dicts():
        arm = view.by_arm[row["winner"]]
        second = row["second"] and f"{row['second']} {words.value(view.val, row['second_value'])}"
        values.append(
            {
                "rank_of": _rank(row["rank"]),
                "lr": f"{row['lr']:g}",
                "method": arm["method_label"],
                "label": row["winner"],
                "text": words.value(view.val, row["value"]),
                "second": second or "–",
                "num": row["num_arms"],
                "fill": _fill(row),
            }
        )
    for rank in frame["rank"].unique().sort().to_list():
        contest = _selected(view, rank)
        if len(contest):
            best = contest.row(0, named=True)
            values.append(
                {
                    "rank_of": _rank(rank),
                    "lr": TUNED,
                    "method": best["method"],
                    "label": best["arm"],
                    "text": words.value(view.val, best["mean"]),
                    "second": contest["arm"][1] if len(contest) > 1 else "–",
                    "num": len(contest),
                    "fill": SAME,
                }
            )
    return values


def _fill(row: dict[str, Any]) -> float:
    if row["is_tuned_winner"]:
        return SAME
    return APART if row["ahead"] is None else OTHER


def _selected(view: View, rank: int | None) -> pl.DataFrame:
    """The selected trials of all that take part at a rank, the best first."""
    joins = pl.lit(True) if rank is None else pl.col("rank").is_null() | (pl.col("rank") == rank)
    whole = view.trials.filter("selected", pl.col("n") == pl.col("n_wanted"), joins)
    return whole.sort(view.val.sign * pl.col("mean"), descending=True, maintain_order=True)


def _rank(rank: int | None) -> str:
    return "all arms" if rank is None else f"rank {rank}"
