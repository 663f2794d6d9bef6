"""What has drifted between two sets of records, for the page and the terminal."""

import altair as alt
import polars as pl

from lowrank_bench.report.drift import ALPHA, Drift
from lowrank_bench.report.figure import Datasets, Figure, layered
from lowrank_bench.report.metric import Metric
from lowrank_bench.report.palette import RED
from lowrank_bench.report.study_part import Cell, Column, PageTable, StudyPart

MOST_DRAWN = 40  # configurations: those that moved first
ROW = 18
CAPTION = "Mean paired differences with bootstrap 95 % intervals; red: the method drifted."


def drift_part(found: Drift, number: int) -> StudyPart:
    drawn = [_figure(found)] if len(found.table) else []
    return StudyPart(
        number=number,
        heading=f"Drift: {found.names[0]}, then {found.names[1]}",
        findings=findings(found),
        warnings=found.changed_status[:20],
        figures=drawn,
        tables=[_methods(found), _table(found), *([_versions(found)] if found.versions else [])],
        files={"drift.csv": found.table.write_csv().encode()},
    )


def findings(found: Drift) -> list[str]:
    """What moved, how it was decided, and what was not compared."""
    table, metric = found.table, found.metric
    name, unit = metric.title.lower(), metric.difference_unit
    drifted = found.methods.filter("drifted")
    moved, same = int(table["moved"].sum()), int(table["equal"].sum())
    largest = metric.difference(float(table["largest"].max() or 0))  # type: ignore[arg-type]
    if len(drifted):
        named = [
            f"{row['method_label']} by {_signed(metric, row['difference'])} ({row['n']} pairs)"
            for row in drifted.head(6).to_dicts()
        ]
        more = f" and {len(drifted) - 6} more" if len(drifted) > 6 else ""
        which = f"{len(drifted)} of {len(found.methods)} methods"
        said = [f"{which} drifted in {name}: {', '.join(named)}{more}"]
    elif found.num_pairs == 0:
        said = [f"No run has a result in both sets, so that nothing can be said of {name}"]
    elif same == found.num_pairs:
        said = [f"Nothing moved: {name} is the same to the last bit in all {same} pairs"]
    else:
        said = [
            f"No method drifted in {name}; {moved} of {found.num_pairs} pairs moved, by at most "
            f"{largest} {unit}"
        ]
    noise = (
        "No set has identical runs to measure noise by, so any difference is a move."
        if found.noise is None
        else f"Identical runs of one set differ by at most {metric.difference(found.noise)} "
        f"{unit}; what differs by more has moved."
    )
    said.append(
        f"{same} of {found.num_pairs} pairs are the same to the last bit, {moved} moved. {noise} A "
        "method has drifted when the exact paired p over all its pairs, after Holm's correction "
        f"for {len(found.methods)}, is at most {ALPHA}."
    )
    few = found.methods.filter(2.0 ** (1 - pl.col("n")) * len(found.methods) > ALPHA)
    if len(few) and same < found.num_pairs:
        names = ", ".join(few["method_label"].head(6))
        said.append(f"Too few pairs for a drift to be shown, however large: {names}.")
    if changed := int((table["exact_changed"] != "").sum()):
        said.append(f"Counts that depend on the program alone changed in {changed} configurations.")
    if found.only_a or found.only_b:
        said.append(f"Runs in one set alone: {found.only_a} and {found.only_b}.")
    return said


def _signed(metric: Metric, difference: float) -> str:
    sign = "+" if difference > 0 else "−"
    return f"{sign}{metric.difference(abs(difference))} {metric.difference_unit}"


def _methods(found: Drift) -> PageTable:
    rows = [
        _row(found, row) | {"p": row["p_holm"], "bad": row["drifted"]}
        for row in found.methods.to_dicts()
    ]
    columns = [Column("method", "method"), *_columns(found), Column("p", "p (Holm)", numeric=True)]
    caption = "All ranks, rates and seeds of a method together. What drifted is in red."
    return PageTable("Which methods drifted", caption, columns, rows)


def _table(found: Drift) -> PageTable:
    rows = [
        _row(found, row)
        | {
            "rank": row["rank"],
            "label": row["label"],
            "exact": row["exact_changed"] or None,
            "time": row["step_time_s_median"],
            "memory": row["peak_memory_bytes"],
        }
        for row in found.table.to_dicts()
    ]
    columns = [
        Column("label", "configuration", wide=True),
        *_columns(found),
        Column("exact", "counts that changed", wide=True),
        Column("time", "step time ×", numeric=True, tip="median of second / first"),
        Column("memory", "peak memory ×", numeric=True, tip="median of second / first"),
    ]
    caption = "Pairs of one control, method and seed; what moved most comes first."
    return PageTable("What moved", caption, columns, rows, folded=True)


def _row(found: Drift, row: dict) -> dict:
    metric = found.metric
    return {
        "method": row["method_label"],
        "n": row["n"],
        "a": Cell(metric.text(row["mean_a"]), row["mean_a"]),
        "b": Cell(metric.text(row["mean_b"]), row["mean_b"]),
        "difference": Cell(_signed(metric, row["difference"]), row["difference"]),
        "interval": _interval(row, metric.scale),
        "largest": Cell(metric.difference(row["largest"]), row["largest"]),
        "moved": row["moved"],
        "equal": row["equal"],
    }


def _columns(found: Drift) -> list[Column]:
    unit = found.metric.difference_unit
    return [
        Column("n", "pairs", numeric=True),
        Column("a", "first", numeric=True, tip=found.names[0]),
        Column("b", "second", numeric=True, tip=found.names[1]),
        Column("difference", "better by", numeric=True, tip="second less first, worse is negative"),
        Column("interval", f"95 % interval, {unit}"),
        Column("largest", f"largest, {unit}", numeric=True, tip="of a single pair"),
        Column("moved", "moved", numeric=True, tip="pairs that differ by more than noise"),
        Column("equal", "same bits", numeric=True, tip="pairs without any difference"),
    ]


def _interval(row: dict, scale: float) -> str | None:
    if row["low"] is None:
        return None
    return f"{scale * row['low']:.2f} to {scale * row['high']:.2f}"


def _versions(found: Drift) -> PageTable:
    columns = [
        Column("name", "what"),
        Column("a", "first", wide=True),
        Column("b", "second", wide=True),
    ]
    rows: list[dict] = [{"name": name, "a": a, "b": b} for name, a, b in found.versions]
    return PageTable("What differs between the two", "Of software and machine.", columns, rows)


def _figure(found: Drift) -> Figure:
    metric, data = found.metric, Datasets()
    shown, drifted = (
        found.table.head(MOST_DRAWN),
        found.methods.filter("drifted")["method_label"].to_list(),
    )
    values = [
        {
            "label": row["label"],
            "method": row["method_label"],
            "rank": row["rank"],
            "mean": metric.scale * row["difference"],
            "low": metric.scale * (row["difference"] if row["low"] is None else row["low"]),
            "high": metric.scale * (row["difference"] if row["high"] is None else row["high"]),
            "moved": "drifted" if row["method_label"] in drifted else "to and fro",
        }
        for row in shown.to_dicts()
    ]
    y = alt.Y("label:N", title=None, sort=None)
    title = f"Second better by ({metric.difference_unit})"
    x = alt.X("mean:Q", title=title)
    colour = alt.Color(
        "moved:N",
        title=None,
        scale=alt.Scale(domain=["drifted", "to and fro"], range=[RED, "#57606a"]),
        legend=None,
    )
    base = data.chart("drift", values).encode(y=y, color=colour)
    zero = data.chart("zero", [{"mean": 0}]).mark_rule(strokeDash=[3, 3], opacity=0.6)
    layers = [
        zero.encode(x="mean:Q"),
        base.mark_rule(strokeWidth=2)
        .encode(x=x, x2="high:Q")
        .encode(x=alt.X("low:Q", title=title)),
        base.mark_point(filled=True, opacity=1, size=50).encode(
            x=x, shape=alt.Shape("moved:N", legend=None), tooltip=["label:N", "mean:Q", "moved:N"]
        ),
    ]
    more = (
        f" The {MOST_DRAWN} that moved most of {len(found.table)}."
        if len(found.table) > MOST_DRAWN
        else ""
    )
    return Figure(
        name="drift",
        finding=findings(found)[0],
        caption=CAPTION + more,
        panels=[layered("", layers, max(60, ROW * len(values)))],
        datasets=data.by_name,
    )
