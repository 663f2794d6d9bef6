"""The metric against the learning rate, as it was tuned: a panel a rank, a line a method."""

from typing import Any

import altair as alt
import polars as pl

from lowrank_bench.protocol.wording import listed, plural
from lowrank_bench.report import encoding
from lowrank_bench.report.figure import HEIGHT, Datasets, Figure, Panel, Values, layered
from lowrank_bench.report.palette import RED
from lowrank_bench.report.study import words
from lowrank_bench.report.study.scale import Scale, in_sight, powers
from lowrank_bench.report.study.view import View, of_rank, rank_title

BELOW = 0.6  # of the arms' spread at their best, shown below the worst of these
LEAST = 0.03  # of the metric's unit that is shown below, however close the arms are


def rates(view: View) -> Figure | None:
    """None until a trial has given a result."""
    measured = view.trials.drop_nulls("mean")
    if measured.is_empty():
        return None
    data = Datasets()
    ranks = [rank for rank in view.ranks_tried if len(view.trials.filter(of_rank(rank)))]
    ys = _domain(view, measured)
    is_seen = pl.col("mean").mul(view.val.scale).is_between(ys.low, ys.high)
    return Figure(
        name="rates",
        finding=finding(view),
        caption=_caption(view, measured.with_columns(is_seen.alias("seen"))),
        panels=[_panel(view, rank, ys, data) for rank in ranks],
        datasets=data.by_name,
        legend_title="Method",
        legend=[view.palette.key(m) for m in encoding.methods(view.arms, view.palette)],
    )


def finding(view: View) -> str:
    """Who is forgiving of the learning rate, and who is not."""
    known = view.sensitivity.drop_nulls("band_decades").sort("band_decades", "arm")
    trials = view.trials
    lost = trials.filter(pl.col("diverged") > 0)
    tail = (
        f"{len(lost)} of {plural(len(trials), 'trial')} had a run that diverged"
        if len(lost)
        else f"of {plural(len(trials), 'trial')} none diverged"
    )
    if known.is_empty():
        return f"No arm has a best learning rate yet; {tail}"
    near, most = words.near(view.val), known.row(-1, named=True)
    said = f"{most['arm']} stays within {near} of its best over {_band(most)}"
    whole = known.filter(~pl.col("at_least"))  # of the others the band is not known
    if len(whole) and whole["band_decades"][0] < most["band_decades"]:
        least = whole.row(0, named=True)
        said += f", {least['arm']} over {_band(least)}"
    return f"{said}; {tail}"


def _band(row: dict[str, Any]) -> str:
    told = words.decades(row["band_decades"])
    return f"at least {told}" if row["at_least"] else told


def _caption(view: View, measured: pl.DataFrame) -> str:
    seeds = len(view.study.ledger.rules.tuning_seeds)
    said = (
        f"Means over {plural(seeds, 'tuning seed')}; bars: smallest to largest. "
        f"Thick: within {words.near(view.val)} of the method's best. Ring: what was selected. "
        "Small marks: trials of another knob than the learning rate. "
        "Red ×: a learning rate at which runs diverged, which are in no mean."
    )
    hidden = measured.filter(~pl.col("seen"))
    if len(hidden):
        far = "below" if view.val.higher_is_better else "above"
        said += f" {plural(len(hidden), 'trial')} {far} the shown range"
        seen = measured.filter("seen")["arm"].to_list()
        gone = hidden.filter(~pl.col("arm").is_in(seen))["arm"].unique(maintain_order=True)
        said += f", with all of {listed(gone.to_list())}." if len(gone) else "."
    return said


def _domain(view: View, measured: pl.DataFrame) -> Scale:
    """Where the arms' best are, and some below: a rate that is far too low is not told apart."""
    gain = pl.col("mean") * view.val.sign
    best = measured.group_by("arm", maintain_order=True).agg(gain.max().alias("g"))["g"].to_list()
    best = [each for each, seen in zip(best, in_sight(best, 1), strict=True) if seen]
    room = max(BELOW * (max(best) - min(best)), LEAST)
    lowest = max(min(best) - room, measured.select(gain.min()).item())
    ends = [view.val.sign * view.val.scale * each for each in (lowest, max(best))]
    return Scale.over(ends)


def _panel(view: View, rank: int | None, ys: Scale, data: Datasets) -> Panel:
    rows = view.trials.filter(of_rank(rank)).join(
        view.sensitivity.select("arm", "band_low", "band_high"), on="arm", how="left"
    )
    name = rank_title(rank)
    lrs = view.trials["lr"].drop_nulls().to_list()
    xs = Scale.over(lrs, log=True, room=0.04)
    x = alt.X(
        "lr:Q",
        title="Learning rate (log scale)",
        scale=xs.alt,
        axis=alt.Axis(format="~g", grid=False, values=powers(xs.low, xs.high)),
    )
    y = alt.Y("mean:Q", title=view.val.axis, scale=ys.alt)
    measured = rows.drop_nulls("mean")
    plain, other = (measured.filter(is_plain) for is_plain in (_plain(), ~_plain()))
    colour = encoding.colour(view.arms, view.palette)
    shape = encoding.shape(view.arms, view.palette)
    tooltip = [
        alt.Tooltip("arm:N"),
        alt.Tooltip("setting:N"),
        alt.Tooltip("text:N", title=view.val.title.lower()),
        alt.Tooltip("n:Q", title="seeds (n)"),
    ]
    base = data.chart(name, _values(view, plain)).encode(x=x, color=colour)
    at = base.encode(y=y)
    inside = data.chart(f"{name} band", _values(view, plain.filter(_inside())))
    ends = {"y": alt.Y("low:Q", scale=ys.alt), "y2": alt.Y2("high:Q")}
    layers = [
        inside.mark_line(strokeWidth=8, opacity=0.22, clip=True).encode(x=x, y=y, color=colour),
        base.mark_rule(strokeWidth=1.2, opacity=0.6, clip=True).encode(**ends),
        encoding.line(at, view.arms, view.palette, 1.6),
        at.mark_point(filled=True, size=36, opacity=1, clip=True).encode(
            shape=shape, tooltip=tooltip
        ),
    ]
    layers[2].mark.clip = True
    if len(other):
        knobs = data.chart(f"{name} knobs", _values(view, other)).encode(x=x, y=y, color=colour)
        layers.append(knobs.mark_point(size=18, clip=True).encode(shape=shape, tooltip=tooltip))
    chosen = data.chart(f"{name} chosen", _values(view, measured.filter(pl.col("selected"))))
    layers.append(
        chosen.mark_point(style="ink", shape="circle", size=130, strokeWidth=1.6, clip=True).encode(
            x=x, y=y
        )
    )
    lost = rows.filter(pl.col("diverged") > 0)
    if len(lost):
        crosses = data.chart(f"{name} diverged", _crosses(lost))
        layers.append(
            crosses.mark_text(text="×", color=RED, fontWeight="bold", fontSize=15, dy=-7).encode(
                x=x, y=alt.YValue("height"), tooltip=alt.Tooltip("tip:N", title="not averaged")
            )
        )
    return layered(name, layers, HEIGHT + 40)


def _plain() -> pl.Expr:
    return pl.col("knobs") == ""


def _inside() -> pl.Expr:
    return pl.col("lr").is_between("band_low", "band_high")


def _values(view: View, rows: pl.DataFrame) -> Values:
    scale = view.val.scale
    return [
        {
            "arm": row["arm"],
            "method": row["method"],
            "rank": row["rank"],
            "setting": (row["knobs"] and f"lr {row['lr']:g}, {row['knobs']}")
            or f"lr {row['lr']:g}",
            "lr": row["lr"],
            "n": row["n"],
            "text": words.value(view.val, row["mean"]),
            **{key: round(row[key] * scale, 4) for key in ("mean", "low", "high")},
        }
        for row in rows.sort("method", "rank", "lr").to_dicts()
    ]


def _crosses(rows: pl.DataFrame) -> Values:
    return [
        {
            "method": row["method"],
            "rank": row["rank"],
            "lr": row["lr"],
            "tip": f"{row['arm']} at lr {row['lr']:g}: {row['diverged']} diverged",
        }
        for row in rows.to_dicts()
    ]
