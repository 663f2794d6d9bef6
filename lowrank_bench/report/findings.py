"""Titles that say what was found, and no more than the seeds allow.

Nothing here is a test of significance: differences are given with n, and called small where
they are smaller than the spread over seeds.
"""

from typing import Any

import polars as pl

from lowrank_bench.report.metric import Metric
from lowrank_bench.report.section import Section

Row = dict[str, Any]


def leader_and_other(shown: pl.DataFrame) -> tuple[Row, Row | None]:
    """The best configuration and the one to hold against it.

    That is the best without a rank (a full model, say) where the leader has one, else the
    best of another method, else the second.
    """
    rows = shown.sort("place").to_dicts()
    best, others = rows[0], rows[1:]
    of_other_kind = [row for row in others if (row["rank"] is None) != (best["rank"] is None)]
    of_other_method = [row for row in others if row["method_label"] != best["method_label"]]
    return best, next(iter(of_other_kind or of_other_method or others), None)


def seeds(*rows: Row | None) -> str:
    """'one seed each', '3 seeds each', 'n = 1 and 3 seeds'."""
    counts = [row["n"] for row in rows if row is not None]
    each = " each" if len(counts) > 1 else ""
    if len(set(counts)) > 1:
        return f"n = {' and '.join(map(str, counts))} seeds"
    return f"one seed{each}" if counts[0] == 1 else f"{counts[0]} seeds{each}"


def within_one_sd(a: Row, b: Row) -> bool:
    """Whether two means differ by no more than the larger of their SDs over seeds."""
    known = [row["sd"] for row in (a, b) if row["sd"] is not None]
    return bool(known) and abs(a["mean"] - b["mean"]) <= max(known)


def headline(section: Section) -> str:
    """The section in one sentence."""
    metric = section.metric
    if metric is None or section.shown.is_empty():
        return "Nothing to compare: no run finished with a measured accuracy or loss"
    best, other = leader_and_other(section.shown)
    when, name = _when(section), metric.title.lower()
    if other is None:
        text = metric.text(best["mean"])
        return f"{best['label']} reaches {text} {name}{when} ({seeds(best)})"
    first, second = metric.text(best["mean"]), metric.text(other["mean"])
    if first == second:
        return (
            f"{best['label']} and {other['label']} both reach {first} {name}{when} "
            f"({seeds(best, other)})"
        )
    if within_one_sd(best, other):
        return (
            f"{best['label']} ({first}) and {other['label']} ({second}) are within one SD "
            f"in {name}{when} ({seeds(best, other)})"
        )
    return (
        f"{best['label']} leads at {first} {name}{when}; "
        f"{other['label']} reaches {second} ({seeds(best, other)})"
    )


def _when(section: Section) -> str:
    last = section.num_epochs
    if not last:
        return ""
    finished = section.runs.filter(pl.col("status") == "finished")
    at_the_end = (finished["selected_epoch"] == last).all(ignore_nulls=False)
    return f" {'after' if at_the_end else 'within'} {last} epoch{'s' if last > 1 else ''}"


def over_epochs(section: Section) -> str:
    """When the leader's mean curve reaches the level at which the other one ends."""
    metric, shown = section.curve_metric, section.shown
    assert metric is not None
    best, other = leader_and_other(shown)
    own = section.curves.filter(pl.col("method_hash") == best["method_hash"])
    if own.is_empty():
        return f"{metric.title} over epochs"
    end = own.row(-1, named=True)
    # the section's own metric needs no name here, another one does
    of = "" if metric == section.metric else f" {metric.title.lower()}"
    plain = f"{best['label']} ends at {metric.text(end['mean'])}{of}"
    if other is None:
        return f"{plain} ({seeds(best)})"
    rival = section.curves.filter(pl.col("method_hash") == other["method_hash"])
    if rival.is_empty():
        return f"{plain} ({seeds(best)})"
    goal = rival.row(-1, named=True)
    level = f"{metric.text(goal['mean'])}{of}"
    mean, sign = pl.col("mean"), 1 if metric.higher_is_better else -1
    there = own.filter((sign * mean >= sign * goal["mean"]) & (pl.col("epoch") > 0))
    if there.is_empty() or there["epoch"][0] >= goal["epoch"]:
        return f"{plain}, {other['label']} at {level} ({seeds(best, other)})"
    return (
        f"{best['label']} reaches {other['label']}'s last {level} at epoch {there['epoch'][0]} "
        f"of {goal['epoch']} ({seeds(best, other)})"
    )


def over_rank(section: Section) -> str:
    """The method that gains most between its worst and its best rank."""
    metric, ranked = section.metric, section.shown.drop_nulls("rank")
    assert metric is not None
    spans = (
        ranked.group_by("method_label")
        .agg(
            pl.col("rank").n_unique().alias("num_ranks"),
            (pl.max("mean") - pl.min("mean")).alias("span"),
        )
        .filter(pl.col("num_ranks") > 1)
        .sort("span", "method_label", descending=[True, False])
    )
    if spans.is_empty():
        best = ranked.row(0, named=True)
        text = metric.text(best["mean"])
        return f"Of methods with a rank, {best['label']} is best at {text} ({seeds(best)})"
    method = spans["method_label"][0]
    rows = ranked.filter(pl.col("method_label") == method)
    best, worst = rows.row(0, named=True), rows.row(-1, named=True)
    values = ", ".join(f"{metric.text(row['mean'])} at r{row['rank']}" for row in (worst, best))
    most = " most" if len(spans) > 1 else ""
    if within_one_sd(best, worst):
        return (
            f"{method} varies{most} with its rank, yet within one SD: {values} "
            f"({seeds(worst, best)})"
        )
    return f"{method} depends{most} on its rank: {values} ({seeds(worst, best)})"


def over_parameters(section: Section) -> str:
    """The smallest configuration that is as good as the one held against the leader."""
    metric, shown = section.metric, section.shown.drop_nulls("trainable")
    assert metric is not None
    unranked = shown.filter(pl.col("rank").is_null())
    if unranked.is_empty() or unranked.height == shown.height:
        best = shown.row(0, named=True)
        return (
            f"{best['label']} is best at {metric.text(best['mean'])}, "
            f"with {count(best['trainable'])} trainable parameters ({seeds(best)})"
        )
    dense = unranked.row(0, named=True)
    smaller = shown.filter(pl.col("trainable") < dense["trainable"])
    level = metric.text(dense["mean"])
    as_good = smaller.filter(pl.col("place") <= dense["place"]).sort("trainable")
    if as_good.is_empty():
        if smaller.is_empty():
            return (
                f"{dense['label']} reaches {level}; nothing trains fewer than its "
                f"{count(dense['trainable'])} parameters ({seeds(dense)})"
            )
        near = smaller.row(0, named=True)
        return (
            f"No smaller configuration reaches {dense['label']}'s {level}; {near['label']} comes "
            f"to {metric.text(near['mean'])} with {_share(near, dense)} of its trainable "
            f"parameters ({seeds(near, dense)})"
        )
    small = as_good.row(0, named=True)
    return (
        f"{small['label']} reaches {metric.text(small['mean'])} ({dense['label']}: {level}) with "
        f"{_share(small, dense)} of the trainable parameters ({seeds(small, dense)})"
    )


def over_forgetting(section: Section) -> str:
    """What the best on the target forgot, and what the best on the source learned."""
    target, source = section.metric, section.source_metric
    assert target is not None
    assert source is not None
    rows = section.shown.drop_nulls(["mean", "source_mean"])
    most = rows.row(0, named=True)
    least = rows.sort(-source.sign * pl.col("source_mean"), "place").row(0, named=True)
    of = "" if target.is_fraction else f"{target.title.lower()} "
    learned = f"{most['label']} learns most ({of}{target.text(most['mean'])})"
    if least["source_mean"] == most["source_mean"]:
        return (
            f"{learned} and is best on the source too: it {_forgot(most, source)} ({seeds(most)})"
        )
    return (
        f"{learned} and {_forgot(most, source)}; {least['label']} {_forgot(least, source)} "
        f"at {target.text(least['mean'])} ({seeds(most, least)})"
    )


def _forgot(row: Row, source: Metric) -> str:
    """'forgets 2.1 points on the source'; what is left, where it was not measured before."""
    lost, after = row["forgetting_mean"], source.text(row["source_mean"])
    if lost is None:
        return f"keeps {after} on the source"
    said = source.difference(abs(lost))
    if not float(said):
        return "forgets nothing of the source"
    if lost < 0:
        return f"improves on the source by {said} {source.difference_unit}"
    return f"forgets {said} {source.difference_unit} on the source"


def over_directions(section: Section) -> str:
    """Whose change is spread over most components, and whose over fewest."""
    rows, column = section.shown.drop_nulls("change_components_90"), "change_components_90"
    few = rows.sort(column, "place").row(0, named=True)
    many = rows.sort(-pl.col(column), "place").row(0, named=True)
    said = (
        f"{many['label']} needs {_components(many)} components for 90 % of the squared spectrum "
        "of ΔW"
    )
    if few["change_components_90"] == many["change_components_90"]:
        return f"{said}, none fewer ({seeds(many)})"
    return f"{said}, {few['label']} {_components(few)} ({seeds(many, few)})"


def _components(row: Row) -> str:
    return f"{row['change_components_90']:.3g}"


def _share(part: Row, whole: Row) -> str:
    return f"{100 * part['trainable'] / whole['trainable']:.2g} %"


def count(number: float | None) -> str:
    """A count with its thousands apart."""
    return "–" if number is None else f"{number:,.0f}"


def spread(section: Section) -> str:
    """What lines and bands mean, with n, and what is not in them."""
    low, high = section.shown["n"].min(), section.shown["n"].max()
    if high == 1:
        said = ["One seed a configuration: no spread is shown."]
    else:
        n = str(high) if low == high else f"{low} to {high}"
        said = [f"Means over n = {n} seeds; bands and bars span the smallest to the largest."]
    if (section.table["num_tried"] > 1).any():
        on = "validation data"
        if (
            section.shown["val_mean"].is_null().any()
            and section.shown["val_loss_mean"].is_null().any()
        ):
            on = "the values shown, which flatters them, since no validation data were kept"
        said.append(f"Where several learning rates were tried, the one best on {on} is shown.")
    return " ".join(said)


def left_out(section: Section) -> str | None:
    """The runs that no mean contains, by configuration."""
    told = [
        f"{row['label']} ({row[column]} of {row['num_runs']} {word})"
        for column, word in (("diverged", "diverged"), ("unfinished", "unfinished"))
        for row in section.table.filter(pl.col(column) > 0).sort("label").to_dicts()
    ]
    if not told:
        return None
    more = f" and {len(told) - 8} more" if len(told) > 8 else ""
    return f"Not averaged: {', '.join(told[:8])}{more}."
