"""The ranked tables in the terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lowrank_bench.report import findings
from lowrank_bench.report.section import Section


def show(found: list[Section], console: Console) -> None:
    """Print one table for each control."""
    for section in found:
        console.print()
        console.print(_safe(section.heading), style="bold")
        console.print(_safe(findings.headline(section)))
        console.print(_table(section))
        if told := findings.left_out(section):
            console.print(_safe(told), style="yellow")
        for row in section.failed_receipts.to_dicts():
            text = f"receipt {row['receipt']} failed: {row['label']}, seed {row['seed']}"
            console.print(_safe(f"{text}: {row['note'] or row['value'] or ''}"), style="red")


def _table(section: Section) -> Table:
    metric = section.metric
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    name = f"{metric.title.lower()} (mean ± SD)" if metric else "result"
    table.add_column("#", justify="right")
    table.add_column("configuration", overflow="fold")
    for column in ("lr", "n", name, "loss", "trainable", "train s", "diverged"):
        table.add_column(column, justify="right")
    for row in section.table.to_dicts():
        score = metric.text_with_spread(row["mean"], row["sd"]) if metric else "–"
        cells = (
            "–" if row["place"] is None else str(row["place"]),
            row["label"],
            "–" if row["lr"] is None else f"{row['lr']:g}",
            str(row["n"]),
            score,
            "–" if row["loss_mean"] is None else f"{row['loss_mean']:.4f}",
            findings.count(row["trainable"]),
            "–" if row["train_seconds"] is None else f"{row['train_seconds']:.1f}",
            str(row["diverged"]) if row["diverged"] else "",
        )
        style = "red" if row["num_with_failed_receipts"] else ""
        table.add_row(*(_safe(cell) for cell in cells), style=style)
    return table


def _safe(text: str) -> Text:
    """Text from records as it is: neither rich markup nor a terminal's control codes."""
    return Text("".join(c if c.isprintable() or c == "\n" else "�" for c in text))
