"""Along how many directions the weights moved, by method and rank."""

import altair as alt
import polars as pl

from lowrank_bench.report import encoding, findings
from lowrank_bench.report.figure import Datasets, Figure, Key, Panel, Values, layered
from lowrank_bench.report.palette import Palette
from lowrank_bench.report.section import Section

ROW = 19  # pixels a method
PANELS = (
    ("change_components_90", "Components for 90 % of ΔW's squared spectrum"),
    ("change_stable_rank", "Stable rank of ΔW"),
)


def directions(section: Section, palette: Palette) -> Figure | None:
    """A row a method, a mark a rank; None where no weight is known to have moved."""
    shown = section.shown.drop_nulls([column for column, _ in PANELS])
    if shown.is_empty():
        return None
    methods = encoding.methods(shown, palette)
    ranks = shown["rank"].drop_nulls().unique().sort().to_list()
    legend = [Key(f"r{rank}", palette.rank(rank)) for rank in ranks]
    data = Datasets()
    panels = [_panel(shown, column, title, methods, legend, data) for column, title in PANELS]
    has_unranked = shown["rank"].null_count() > 0
    return Figure(
        name="directions",
        finding=findings.over_directions(section),
        caption=" ".join(
            [
                "Means over the linear layers that moved, from their effective weights before and "
                "after.",
                *(["Ring: methods without a rank."] if has_unranked and ranks else []),
                findings.spread(section),
            ]
        ),
        panels=panels,
        datasets=data.by_name,
        legend_title="Rank",
        legend=legend,
    )


def _panel(
    shown: pl.DataFrame,
    column: str,
    title: str,
    methods: list[str],
    legend: list[Key],
    data: Datasets,
) -> Panel:
    highest = max(shown[f"{column}_high"].to_list())
    ticks = [2**power for power in range(14) if 2**power <= highest * 1.2]
    x = {
        "title": f"{title} (log scale)",
        "scale": alt.Scale(type="log", base=2, domain=[0.9, max(highest, 1.5) * 1.12], nice=False),
        "axis": alt.Axis(values=ticks, format="d"),
    }
    y = alt.Y("method:N", title=None, sort=methods, scale=alt.Scale(domain=methods))
    tooltip = [
        alt.Tooltip("label:N", title="configuration"),
        alt.Tooltip("mean:Q", title=title, format=".2f"),
        alt.Tooltip("n:Q", title="seeds (n)"),
    ]
    layers = []
    ranked, level = shown.drop_nulls("rank"), shown.filter(pl.col("rank").is_null())
    if len(ranked):
        colours = alt.Scale(domain=[k.label for k in legend], range=[k.colour for k in legend])
        base = data.chart(column, _values(ranked, column)).encode(
            y=y, color=alt.Color("series:N", title="Rank", scale=colours, sort=None)
        )
        layers += [
            base.mark_rule(strokeWidth=2, opacity=0.6).encode(x=alt.X("low:Q", **x), x2="high:Q"),
            base.mark_point(filled=True, size=60, opacity=1).encode(
                x=alt.X("mean:Q", **x), tooltip=tooltip
            ),
        ]
    if len(level):
        base = data.chart(f"{column} level", _values(level, column)).encode(y=y)
        layers += [
            base.mark_rule(style="ink", strokeWidth=2, opacity=0.6).encode(
                x=alt.X("low:Q", **x), x2="high:Q"
            ),
            base.mark_point(style="ink", size=60, opacity=1, strokeWidth=2).encode(
                x=alt.X("mean:Q", **x), tooltip=tooltip
            ),
        ]
    return layered("", layers, max(ROW * len(methods), 60))


def _values(rows: pl.DataFrame, column: str) -> Values:
    return [
        {
            "method": row["method_label"],
            "label": row["label"],
            "series": f"r{row['rank']}",
            "n": row["n"],
            "mean": round(row[column], 4),
            "low": round(row[f"{column}_low"], 4),
            "high": round(row[f"{column}_high"], 4),
        }
        for row in rows.sort("method_label", "rank").to_dicts()
    ]
