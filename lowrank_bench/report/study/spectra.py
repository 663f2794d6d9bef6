"""How the weights of the finals moved: how far, and along how many directions."""

from typing import Any

import altair as alt
import polars as pl

from lowrank_bench.report import encoding
from lowrank_bench.report.figure import Datasets, Figure, Key, Panel, layered
from lowrank_bench.report.study.scale import Scale, powers
from lowrank_bench.report.study.view import View

ROW = 13  # pixels of a rank in a method's row
NONE = "no rank"
PANELS = (
    ("change_components_90", "Components for 90 % of ΔW's squared spectrum"),
    ("change_stable_rank", "Stable rank of ΔW"),
    ("change_relative_norm", "Norm of ΔW over that of W"),
)


def spectra(view: View) -> Figure | None:
    """A row a method, a mark a rank; None where no weight is known to have moved."""
    columns = [column for column, _ in PANELS]
    finals = view.finals.drop_nulls(columns)
    if finals.is_empty():
        return None
    rows = finals.group_by("arm", maintain_order=True).agg(
        pl.len().alias("n"),
        *(pl.col(c).mean() for c in columns),
        *(pl.col(c).min().alias(f"{c}_low") for c in columns),
        *(pl.col(c).max().alias(f"{c}_high") for c in columns),
    )
    rows = rows.join(view.arms, on="arm")
    ranks = rows["rank"].drop_nulls().unique().sort().to_list()
    legend = [Key(f"r{rank}", view.palette.rank(rank)) for rank in ranks]
    data = Datasets()
    has_unranked = rows["rank"].null_count() > 0
    return Figure(
        name="spectra",
        finding=finding(rows),
        caption=(
            "Finals: means over the linear layers that moved and over fresh seeds; bars: smallest "
            "to largest seed." + (" Ring: methods without a rank." if has_unranked else "")
        ),
        panels=[_panel(view, rows, c, title, legend, data) for c, title in PANELS],
        datasets=data.by_name,
        legend_title="Rank",
        legend=legend,
    )


def finding(rows: pl.DataFrame) -> str:
    """Between which arms the number of directions varies, and whether it follows the rank."""
    column = PANELS[0][0]
    order = rows.sort(column, "arm")
    low, high = order.row(0, named=True), order.row(-1, named=True)
    said = (
        f"90 % of the change lies in {low[column]:.3g} directions for {low['arm']} and in "
        f"{high[column]:.3g} for {high['arm']}"
        if len(rows) > 1
        else f"90 % of {low['arm']}'s change lies in {low[column]:.3g} directions"
    )
    ranked = rows.drop_nulls("rank")
    beyond = ranked.filter(pl.col(column) > pl.col("rank"))
    if ranked.is_empty():
        return said
    if beyond.is_empty():
        return f"{said}; no method needs more of them than its rank"
    names = beyond["method_label"].n_unique()
    return (
        f"{said}; {names} of {ranked['method_label'].n_unique()} ranked methods exceed their rank"
    )


def _panel(
    view: View, rows: pl.DataFrame, column: str, title: str, legend: list[Key], data: Datasets
) -> Panel:
    methods = encoding.methods(rows, view.palette)
    most = max(1, len(legend))
    ends = [*rows[f"{column}_low"], *rows[f"{column}_high"]]
    xs = Scale.over(ends, log=True)
    x = {
        "title": f"{title}{' (log scale)' if xs.is_log else ''}",
        "scale": xs.alt,
        "axis": alt.Axis(format="~g", values=powers(xs.low, xs.high, (1, 2, 5))),
    }
    y = alt.Y("method:N", title=None, sort=methods, scale=alt.Scale(domain=methods))
    offset = alt.YOffset("series:N", scale=alt.Scale(domain=[key.label for key in legend]))
    colours = alt.Scale(domain=[k.label for k in legend], range=[k.colour for k in legend])
    tooltip = [
        alt.Tooltip("arm:N"),
        alt.Tooltip("mean:Q", title=title, format=".3g"),
        alt.Tooltip("n:Q", title="seeds (n)"),
    ]
    layers = []
    for is_ranked in (True, False):
        part = rows.filter(pl.col("rank").is_not_null() == is_ranked)
        if part.is_empty():
            continue
        style: dict[str, Any] = {} if is_ranked else {"style": "ink"}
        values = [_value(row, column) for row in part.sort("method_label", "rank").to_dicts()]
        base = data.chart(f"{column}{'' if is_ranked else ' no rank'}", values).encode(y=y)
        if is_ranked:
            base = base.encode(color=alt.Color("series:N", title="Rank", scale=colours, sort=None))
            base = base.encode(yOffset=offset) if most > 1 else base
        layers += [
            base.mark_rule(strokeWidth=2, opacity=0.6, **style).encode(
                x=alt.X("low:Q", **x), x2="high:Q"
            ),
            base.mark_point(filled=is_ranked, size=50, opacity=1, strokeWidth=2, **style).encode(
                x=alt.X("mean:Q", **x), tooltip=tooltip
            ),
        ]
    return layered(title, layers, max(len(methods) * (ROW * most + 4), 60))


def _value(row: dict[str, Any], column: str) -> dict[str, Any]:
    return {
        "arm": row["arm"],
        "method": row["method_label"],
        "rank": row["rank"],
        "series": NONE if row["rank"] is None else f"r{row['rank']}",
        "n": row["n"],
        "mean": float(f"{row[column]:.5g}"),
        "low": float(f"{row[f'{column}_low']:.5g}"),
        "high": float(f"{row[f'{column}_high']:.5g}"),
    }
