"""Every arm held against a reference: the paired difference, its interval, the verdict."""

from typing import Any

import altair as alt
import polars as pl

from lowrank_bench.protocol.wording import listed, plural
from lowrank_bench.report.figure import Datasets, Figure, Key, Panel, Values, layered
from lowrank_bench.report.palette import OUTLINES
from lowrank_bench.report.study import words
from lowrank_bench.report.study.scale import Scale
from lowrank_bench.report.study.view import View

ROW = 19  # pixels an arm
GREY = "#8a939e"
# verdict: colour, shape; told apart by each of the two alone
VERDICTS = {
    "better": ("#009E73", "triangle-up"),
    "equivalent": ("#0072B2", "square"),
    "undecided": (GREY, "circle"),
    "worse": ("#D55E00", "triangle-down"),
    "refused": (GREY, "cross"),
}


def forests(view: View) -> list[Figure]:
    """One figure a reference method; empty until finals have been compared."""
    measured = view.comparisons.drop_nulls("mean_diff")
    figures = []
    for method in view.study.ledger.rules.references:
        arms = [a.name for a in view.study.ledger.arms if a.method == method]
        rows = measured.filter(pl.col("reference").is_in(arms))
        if len(rows):
            figures.append(_forest(view, method, rows))
    return figures


def _forest(view: View, method: str, rows: pl.DataFrame) -> Figure:
    data = Datasets()
    references = rows["reference"].unique(maintain_order=True).to_list()
    margin = words.amount(view.metric, view.study.ledger.margin)
    known = set(rows["verdict"])
    return Figure(
        name=f"against-{slug(method)}",
        finding=finding(view, method, rows),
        caption=(
            f"Mean paired difference in {view.metric.title.lower()} over shared fresh seeds, and "
            f"its bootstrap 95 % interval; to the right is better than {method}. Grey band: "
            f"differences within {margin}, which were declared beforehand not to matter. "
            f"Verdicts: exact paired tests at {view.study.ledger.rules.alpha:g} after Holm's "
            "correction; refused: not ranked, so not tested. ← →: further off than is shown."
        ),
        panels=[panel(view, rows, each, data) for each in references],
        datasets=data.by_name,
        legend_title="Verdict",
        legend=[Key(v, c, "", OUTLINES[s]) for v, (c, s) in VERDICTS.items() if v in known],
    )


def finding(view: View, method: str, rows: pl.DataFrame) -> str:
    counts = dict(rows["verdict"].value_counts().rows())
    told = [f"{counts[verdict]} {verdict}" for verdict in VERDICTS if verdict in counts]
    tested = rows.filter(pl.col("verdict") != "refused")
    seeds = f"{_range(tested['n'].to_list())} paired seeds, " if len(tested) else ""
    margin = words.amount(view.metric, view.study.ledger.margin)
    held = f"Held against {method}, {plural(len(rows), 'arm')}: {listed(told)}"
    return f"{held} ({seeds}margin {margin})"


def _range(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def slug(text: str) -> str:
    """As a part of a file's name."""
    kept = "".join(c if (c.isalnum() and c.isascii()) or c in "_-" else "-" for c in text)
    return "-".join(filter(None, kept.split("-"))) or "method"


def panel(
    view: View,
    rows: pl.DataFrame,
    reference: str,
    data: Datasets,
    row: int = ROW,
    *,
    with_numbers: bool = False,
) -> Panel:
    """One row an arm, the best at the top; `with_numbers` to the right of the plot."""
    values = _values(view, rows.filter(pl.col("reference") == reference))
    margin = view.study.ledger.margin * view.metric.scale
    xs = _scale(values, margin)
    values = [v | {"is_far": not xs.low < v["mean"] < xs.high} for v in values]
    title = f"Difference from {reference} ({words.unit(view.metric)}; right is better)"
    x = {"title": title, "scale": xs.alt, "axis": alt.Axis(tickCount=6)}
    y = alt.Y("arm:N", title=None, sort=[v["arm"] for v in values], axis=_names())
    colours = alt.Scale(domain=[*VERDICTS], range=[c for c, _ in VERDICTS.values()])
    shapes = alt.Scale(domain=[*VERDICTS], range=[s for _, s in VERDICTS.values()])
    colour = alt.Color("verdict:N", title="Verdict", scale=colours)
    near = [v for v in values if not v["is_far"]]
    base = data.chart(reference, near).encode(y=y, color=colour)
    zero = data.chart("margin", [{"low": -margin, "high": margin, "zero": 0}])
    tooltip = [
        alt.Tooltip("arm:N"),
        alt.Tooltip("text:N", title="difference"),
        alt.Tooltip("interval:N", title="95 % interval"),
        alt.Tooltip("n:Q", title="paired seeds (n)"),
        alt.Tooltip("p:N", title="p after Holm"),
        alt.Tooltip("verdict:N"),
        alt.Tooltip("why:N"),
    ]
    layers = [
        zero.mark_rect(color=GREY, opacity=0.2).encode(x=alt.X("low:Q", **x), x2="high:Q"),
        zero.mark_rule(style="ink", strokeWidth=1, opacity=0.7).encode(x=alt.X("zero:Q", **x)),
        base.mark_rule(strokeWidth=2, clip=True).encode(x=alt.X("low:Q", **x), x2="high:Q"),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            x=alt.X("mean:Q", **x),
            shape=alt.Shape("verdict:N", title="Verdict", scale=shapes),
            tooltip=tooltip,
        ),
    ]
    for is_left in (True, False):
        far = [v for v in values if v["is_far"] and (v["mean"] < 0) is is_left]
        if far:  # an arrow to where it lies, and how far that is
            mark = data.chart(f"{reference} far {'left' if is_left else 'right'}", far).mark_text(
                align="left" if is_left else "right", dx=4 if is_left else -4, fontSize=11
            )
            edge = alt.value(0) if is_left else alt.value("width")
            layers.append(mark.encode(x=edge, y=y, color=colour, text="arrow:N", tooltip=tooltip))
    if with_numbers:
        numbers = data.chart(f"{reference} numbers", values).mark_text(
            style="ink", align="left", fontSize=12, dx=10
        )
        layers.append(numbers.encode(x=alt.value("width"), y=y, text="numbers:N"))
    return layered(f"Against {reference}", layers, max(row * len(values), 40))


def _scale(values: Values, margin: float) -> Scale:
    """Over the margin and all arms but those that lie much further off than most."""
    sizes = sorted(abs(v["mean"]) for v in values)
    most = max(8 * margin, 2.5 * sizes[3 * (len(sizes) - 1) // 4])
    near = [v for v in values if abs(v["mean"]) <= most]
    ends = [each for v in near for each in (v["low"], v["high"], v["mean"]) if each is not None]
    return Scale.over([*ends, -1.15 * margin, 1.15 * margin], room=0.04)


def _names() -> alt.Axis:
    return alt.Axis(grid=False, ticks=False, domain=False, labelLimit=240, labelOverlap=False)


def _values(view: View, rows: pl.DataFrame) -> Values:
    ranked = rows.join(view.arms, on="arm", how="left").sort(
        "mean_diff", "arm", descending=[True, False]
    )
    return [_value(view, row) for row in ranked.to_dicts()]


def _value(view: View, row: dict[str, Any]) -> dict[str, Any]:
    metric = view.metric
    scaled = {
        key: None if row[of] is None else round(row[of] * metric.scale, 4)
        for key, of in (("mean", "mean_diff"), ("low", "low"), ("high", "high"))
    }
    return scaled | {
        "arm": row["arm"],
        "method": row["method_label"],
        "rank": row["rank"],
        "verdict": row["verdict"],
        "n": row["n"],
        "why": row["why"] or "",
        "p": "–" if row["p_holm"] is None else f"{row['p_holm']:.2g}",
        "arrow": f"{'←' if row['mean_diff'] < 0 else '→'} {words.signed(metric, row['mean_diff'])}",
        "text": f"{words.signed(metric, row['mean_diff'])} {words.unit(metric)}",
        "numbers": f"{words.signed(metric, row['mean_diff'])}  "
        f"({words.interval(metric, row['low'], row['high'])})",
        "interval": words.interval(metric, row["low"], row["high"]),
    }
