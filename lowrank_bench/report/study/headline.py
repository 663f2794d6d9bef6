"""One picture of what a study found, for a README: every arm against the first reference."""

import textwrap

import polars as pl

from lowrank_bench.protocol.verdicts import verdicts
from lowrank_bench.report.figure import TOP, Datasets, Spec
from lowrank_bench.report.images import svg_of
from lowrank_bench.report.painter import png
from lowrank_bench.report.study.forest import finding, panel
from lowrank_bench.report.study.view import View

WIDTH = 520  # pixels of the plot; with names and numbers the image is some 900 wide
ROW = 24
LETTERS = 104  # of a line of the title
FONT = {"labelFontSize": 13, "titleFontSize": 13}


def headline(view: View) -> bytes | None:
    """A PNG; None until an arm has been compared with the first reference that has finals."""
    spec = headline_spec(view)
    return None if spec is None else png(svg_of(spec))


def headline_spec(view: View) -> Spec | None:
    if view.study.ledger.metric is None:
        return None
    measured = view.comparisons.drop_nulls("mean_diff")
    for method in view.study.ledger.rules.references:
        arms = [arm.name for arm in view.study.ledger.arms if arm.method == method]
        rows = measured.filter(pl.col("reference").is_in(arms))
        if len(rows):
            return _spec(view, method, rows)
    return None


def _spec(view: View, method: str, rows: pl.DataFrame) -> Spec:
    data = Datasets()
    references = rows["reference"].unique(maintain_order=True).to_list()
    plots = [panel(view, rows, each, data, ROW, with_numbers=True) for each in references]
    said = verdicts(view.study, view.leaderboard, view.comparisons)[0]
    margin = (
        "Dots and lines: mean paired difference over shared fresh seeds and its bootstrap 95 % "
        "interval. Grey: differences declared beforehand not to matter."
    )
    title = {
        "text": textwrap.wrap(finding(view, method, rows), LETTERS * 7 // 8),
        "subtitle": [*textwrap.wrap(said, LETTERS), *textwrap.wrap(margin, LETTERS)],
        "fontSize": 17,
        "subtitleFontSize": 13,
    }
    each = [
        {"layer": plot.spec["layer"], "height": plot.spec["height"], "width": WIDTH}
        | ({"title": {"text": plot.title, "fontSize": 13}} if len(plots) > 1 else {})
        for plot in plots
    ]
    shared = {"scale": {"color": "shared", "shape": "shared"}}
    whole = {"vconcat": each, "title": title, "resolve": shared, "datasets": data.by_name}
    return TOP | whole | {"config": {"axis": FONT, "legend": {"labelFontSize": 13}}}
