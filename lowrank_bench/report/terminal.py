"""The ranked tables in the terminal."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lowrank_bench.report import findings
from lowrank_bench.report.metric import Metric
from lowrank_bench.report.section import Section
from lowrank_bench.report.study_part import StudyPart

MOST_ROWS = 50  # of a table: the best


def show(found: list[Section], console: Console, studies: Sequence[StudyPart] = ()) -> None:
    """Print what was found of each study, then one table for each control."""
    for part in studies:
        console.print()
        console.print(_safe(part.heading), style="dim")
        for i, finding in enumerate(part.findings):
            console.print(_safe(finding), style="bold" if i == 0 else "")
        for warning in part.warnings:
            console.print(_safe(warning), style="yellow")
    for section in found:
        console.print()
        console.print(_safe(section.heading), style="dim")
        console.print(_safe(findings.headline(section)), style="bold")
        console.print(_table(section))
        if (more := len(section.table) - MOST_ROWS) > 0:
            console.print(f"… and {more} more configurations; all are in table.csv", style="dim")
        if told := findings.left_out(section):
            console.print(_safe(told), style="yellow")
        for row in section.failed_receipts.to_dicts():
            text = f"receipt {row['receipt']} failed: {row['label']}, seed {row['seed']}"
            console.print(_safe(f"{text}: {row['note'] or row['value'] or ''}"), style="red")
    console.print()


def _table(section: Section) -> Table:
    """As many columns as say something, so that it fits in 80 characters."""
    metric, source, rows = (
        section.metric,
        section.source_metric,
        section.table.head(MOST_ROWS).to_dicts(),
    )
    name = f"{metric.title.lower()} ± SD" if metric else "result"
    several_lrs = len({row["lr"] for row in rows}) > 1
    has_diverged = any(row["diverged"] for row in rows)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("#", justify="right")
    table.add_column("configuration", overflow="fold")
    # beside the result: of language its perplexity, of adaptation what is left of the source
    beside = ["ppl"] if section.is_of_language else [] if source else ["loss"]
    beside += ["source", "forgot"] if source else []
    for column in [*(["lr"] if several_lrs else []), "n", name, *beside, "trainable"]:
        table.add_column(column, justify="right", no_wrap=column != name)
    if source is None:
        table.add_column("train s", justify="right", no_wrap=True)
    if has_diverged:
        table.add_column("diverged", justify="right", style="yellow")
    for row in rows:
        cells = [
            "–" if row["place"] is None else str(row["place"]),
            _without_lr(row) if several_lrs else row["label"],
            *([_number(row["lr"], "g")] if several_lrs else []),
            str(row["n"]),
            metric.text_with_spread(row["mean"], row["sd"]) if metric else "–",
            *(cell for column, cell in _beside(row, source).items() if column in beside),
            findings.count(row["trainable"]),
            *([_number(row["train_seconds"], ".1f")] if source is None else []),
            *([str(row["diverged"] or "")] if has_diverged else []),
        ]
        style = "red" if row["num_with_failed_receipts"] else ""
        table.add_row(*(_safe(cell) for cell in cells), style=style)
    return table


def _beside(row: dict[str, Any], source: Metric | None) -> dict[str, str]:
    return {
        "ppl": _number(row["perplexity"], ".2f"),
        "loss": _number(row["loss_mean"], ".4f"),
        "source": source.text(row["source_mean"]) if source else "–",
        "forgot": source.difference(row["forgetting_mean"]) if source else "–",
    }


def _without_lr(row: dict[str, Any]) -> str:
    return row["method_label"] if row["rank"] is None else f"{row['method_label']} r{row['rank']}"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _safe(text: str) -> Text:
    """Text from records as it is: neither rich markup nor a terminal's control codes."""
    return Text("".join(c if c.isprintable() else "�" for c in text))
