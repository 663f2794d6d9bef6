"""The best that fits into each budget: equal rank, parameters, memory or FLOPs."""

from typing import Any

import altair as alt
import polars as pl

from lowrank_bench.protocol.wording import plural
from lowrank_bench.report import encoding
from lowrank_bench.report.figure import Datasets, Figure, Values, layered
from lowrank_bench.report.study import words
from lowrank_bench.report.study.scale import Scale
from lowrank_bench.report.study.view import View

ROW = 34  # pixels a budget
KINDS = {"rank": "Rank", "parameters": "Parameters", "memory": "Memory", "flops": "FLOPs"}
LINES = r"split(datum.label, '\n')"  # a label of two lines


def budgets(view: View) -> Figure | None:
    """The winner's lead over the next best, a row a budget; None where two arms never fit."""
    rows = view.slices.drop_nulls(["winner", "second", "difference", "low"])
    if rows.is_empty():
        return None
    data, values = Datasets(), _values(view, rows)
    xs = Scale.over([*(v[key] for v in values for key in ("low", "high")), 0.0], room=0.05)
    winners = view.arms.filter(pl.col("arm").is_in(rows["winner"].to_list()))
    return Figure(
        name="budgets",
        finding=finding(rows),
        caption=(
            "By how much the best of the arms that fit into a budget leads the next best, with "
            "the bootstrap 95 % interval of the paired difference. A budget is a rank, or what "
            "the arm in brackets costs. Filled: told apart by an exact paired test, "
            "uncorrected, of two arms picked as the best two, so a hint and no verdict; hollow: "
            "not told apart."
        ),
        panels=[layered("", _layers(view, values, winners, xs, data), max(ROW * len(values), 60))],
        datasets=data.by_name,
        legend_title="Winner",
        legend=[view.palette.key(m) for m in encoding.methods(winners, view.palette)],
    )


def finding(rows: pl.DataFrame) -> str:
    """In how many budgets somebody really wins, and who most often."""
    real = rows.filter("is_real")
    said = (
        f"In {len(real)} of {plural(len(rows), 'budget')} the best arm is told apart from the next "
        "(exact p at most 0.05, uncorrected)"
    )
    if real.is_empty():
        return said
    most = real["winner"].value_counts().sort("count", "winner", descending=[True, False])
    name, number = most.row(0)
    return f"{said}; most often {name} ({number})" if number > 1 else said


def _layers(
    view: View, values: Values, winners: pl.DataFrame, xs: Scale, data: Datasets
) -> list[alt.Chart]:
    title = f"Lead over the next best ({words.unit(view.metric)})"
    x = {"title": title, "scale": xs.alt, "axis": alt.Axis(tickCount=6)}
    bare: dict[str, Any] = {"grid": False, "ticks": False, "domain": False, "labelOverlap": False}
    y = alt.Y(
        "budget:N",
        title=None,
        sort=[v["budget"] for v in values],
        axis=alt.Axis(labelExpr=LINES, labelLimit=200, labelLineHeight=13, **bare),
    )
    colour = encoding.colour(winners, view.palette).title("Winner")
    shape = encoding.shape(winners, view.palette).title("Winner")
    tooltip = [
        alt.Tooltip("said:N", title="best"),
        alt.Tooltip("interval:N", title="95 % interval of the lead"),
        alt.Tooltip("p:N", title="p (uncorrected)"),
        alt.Tooltip("num:Q", title="arms that fit"),
    ]
    zero, base = data.chart("zero", [{"zero": 0}]), data.chart("leads", values)
    layers = [
        zero.mark_rule(style="ink", strokeWidth=1, opacity=0.7).encode(x=alt.X("zero:Q", **x)),
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", **x), x2="high:Q", y=y, color=colour),
    ]
    for is_real in (True, False):
        those = [v for v in values if v["real"] is is_real]
        if those:
            mark = data.chart("real" if is_real else "open", those)
            layers.append(
                mark.mark_point(filled=is_real, size=65, opacity=1, strokeWidth=2).encode(
                    x=alt.X("difference:Q", **x), y=y, color=colour, shape=shape, tooltip=tooltip
                )
            )
    return layers


def _values(view: View, rows: pl.DataFrame) -> Values:
    order = pl.col("kind").replace_strict([*KINDS], range(len(KINDS)), default=len(KINDS))
    ordered = rows.sort(order, "budget", "budget_of", maintain_order=True)
    return [_value(view, row) for row in ordered.to_dicts()]


def _value(view: View, row: dict[str, Any]) -> dict[str, Any]:
    metric = view.metric
    return {
        "budget": f"{KINDS.get(row['kind'], row['kind'])} {budget(row)}\n"
        f"{row['winner']} over {row['second']}",
        "method": view.by_arm[row["winner"]]["method_label"],
        "said": f"{row['winner']} {words.value(metric, row['value'])}",
        "interval": words.interval(metric, row["low"], row["high"]),
        "p": f"{row['p']:.2g}" if row["p"] is not None else "–",
        "num": row["num_arms"],
        "real": bool(row["is_real"]),
        **{key: round(row[key] * metric.scale, 4) for key in ("difference", "low", "high")},
    }


def budget(row: dict[str, Any]) -> str:
    """'8', '32.8k (lora r8)', '1.9 MiB (full)'."""
    number = row["budget"]
    if row["kind"] == "rank":
        return f"{number:g}"
    text = words.of_bytes(number) if row["kind"] == "memory" else words.short(number)
    return f"{text} ({row['budget_of']})"
