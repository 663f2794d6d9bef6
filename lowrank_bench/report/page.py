"""The page: one file that needs nothing but a browser."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from os.path import dirname, isfile, join
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lowrank_bench import __version__
from lowrank_bench.record import PLAN, SCHEMA, RunRecord
from lowrank_bench.report import findings, theme
from lowrank_bench.report.adaptation import changed
from lowrank_bench.report.figure import Figure
from lowrank_bench.report.filtering import Choices, labels_of
from lowrank_bench.report.images import LINE_ENDS, javascript, spec_json
from lowrank_bench.report.load import PRECEDENCE, Loaded
from lowrank_bench.report.planned import planned
from lowrank_bench.report.section import Section
from lowrank_bench.report.study_part import StudyPart

HERE = Path(__file__).parent
MOST_LISTED = 300  # rows of a table in which each run, or each configuration, has several
MOST_OPEN = 100  # rows that a table begins with; the others are there when they are asked for
SCRIPTS = ("tables.js", "charts.js", "filters.js")


def render(
    loaded: Loaded,
    found: list[Section],
    drawn: dict[int, list[Figure]],
    *,
    title: str,
    studies: Sequence[StudyPart] = (),
) -> str:
    """The whole page. Texts from records are escaped by the template, data by `_json`."""
    choices, labels = Choices.of(found, studies), labels_of(found, studies)
    templates = _templates()
    templates.globals |= {
        "tagged": choices.attributes,
        "of_label": choices.of_label,
        "of_key": choices.of_key,
        "most_open": MOST_OPEN,
    }
    figures = {f"s{number}-{each.name}": each for number, those in drawn.items() for each in those}
    figures |= {
        f"study-{part.number}-{each.name}": each for part in studies for each in part.figures
    }
    counts = dict(loaded.runs["status"].value_counts().rows())
    page = templates.get_template("page.html.jinja").render(
        title=title,
        made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        counts=[(status, counts[status]) for status in PRECEDENCE if status in counts],
        num_runs=len(loaded.runs),
        notes=loaded.notes,
        versions=versions([loaded.records[run] for run in loaded.runs["run"]]),
        package=__version__,
        schema=SCHEMA,
        sections=found,
        studies=studies,
        drawn=drawn,
        choices=choices,
        labels=labels,
        findings=findings,
        grouped=grouped_receipts,
        all_receipts=all_receipts,
        changed=changed,
        planned=lambda section: planned(_planned(section)),
        has_layers=len(loaded.layers) > 0,
        listed=listed_runs,
        style=_own("page.css"),
        rules=selection_rules,
        script=Markup("\n").join(map(_own, SCRIPTS)),
        vega=Markup(javascript().replace("</script", "<\\/script")) if figures else "",
        charts=_json(
            {
                "specs": {name: each.page_specs() for name, each in figures.items()},
                "datasets": {name: each.datasets for name, each in figures.items()},
                "labels": labels if choices.is_any else {},
                "family": {label: of for label, of in choices.family.items() if label != of},
                "light": theme.LIGHT,
                "dark": theme.DARK,
            }
        ),
    )
    return page.translate(LINE_ENDS)  # a name is the same in the charts' data and beside them


def _planned(section: Section) -> Section:
    """Those of its runs that have a plan, with so few columns that they are handed out fast."""
    has_plan = [isfile(join(dirname(path), PLAN)) for path in section.runs["path"]]
    runs = section.runs.select("label", "seed", "path").filter(
        pl.Series(has_plan, dtype=pl.Boolean)
    )
    return replace(section, runs=runs)


def _templates() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,  # whatever the template's suffix
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # a number and its % stay on one line
    templates.filters["unbroken"] = lambda text: text.replace(" %", "\u00a0%")
    return templates


def _own(name: str) -> Markup:
    return Markup((HERE / name).read_text(encoding="utf-8"))


def _json(value: Any) -> Markup:
    """JSON for a script element, in which no text can end the element or open a comment."""
    return Markup(spec_json(value).replace("<", "\\u003c"))


def listed_runs(section: Section) -> list[dict[str, Any]]:
    """Every run with its status and, of what failed, why.

    Of very many the first of those that are not plainly finished: nobody reads the others here,
    and all are in `runs.csv`.
    """
    notes = section.failed_receipts.group_by("run", maintain_order=True).agg(
        pl.concat_str("receipt", pl.lit(": "), pl.col("note").fill_null("failed"))
        .str.join("; ")
        .alias("receipts")
    )
    score = f"selected_{section.metric.column}" if section.metric else None
    runs = section.runs.join(notes, on="run", how="left")
    if len(runs) > MOST_LISTED:
        is_plain = (pl.col("status") == "finished") & pl.col("receipts").is_null()
        runs = runs.filter(~is_plain).head(MOST_LISTED)
    return (
        runs.with_columns((pl.col(score) if score else pl.lit(None, pl.Float64)).alias("score"))
        .sort("method_label", "rank", "lr", "seed")
        .to_dicts()
    )


def selection_rules(section: Section) -> str:
    """By which rule the measured checkpoints were selected, in the records' words."""
    return "; ".join(section.runs["selected_rule"].drop_nulls().unique().sort())


def grouped_receipts(section: Section) -> list[dict[str, Any]]:
    """Failed receipts, once for all seeds of a configuration that say the same."""
    return (
        section.failed_receipts.group_by("label", "receipt", "note", maintain_order=True)
        .agg(pl.col("seed").sort().cast(pl.String).str.join(", "), pl.col("value").first())
        .to_dicts()
    )


def all_receipts(section: Section) -> list[dict[str, Any]]:
    """Every receipt once a configuration: in how many of its runs it held, and one value.

    Of very many configurations once a method.
    """
    receipts = section.receipts
    if receipts.select("label", "receipt").n_unique() > MOST_LISTED:
        methods = section.runs.select("run", "method_label")
        receipts = receipts.join(methods, on="run").with_columns(label=pl.col("method_label"))
    return (
        receipts.group_by("label", "receipt", maintain_order=True)
        .agg(
            pl.col("ok").sum().alias("held"),
            pl.col("ok").is_not_null().sum().alias("checked"),
            pl.col("value", "note").sort_by("ok", nulls_last=True).first(),
        )
        .sort("label", maintain_order=True)
        .to_dicts()
    )


def versions(records: list[RunRecord]) -> list[tuple[str, list[str]]]:
    """What the runs say about their software and device, each name with all its values."""
    said: dict[str, dict[str, None]] = {}
    told: dict[str, Any] | None = None
    for record in records:
        if record.env == told:  # as nearly always in a sweep
            continue
        told = record.env
        listed, git = record.env.get("versions"), record.env.get("git")
        env = (listed if isinstance(listed, dict) else {}) | record.env
        if isinstance(git, dict) and git.get("sha"):
            changed = " with changes" if git.get("is_dirty") else ""
            env["commit"] = f"{str(git['sha'])[:10]}{changed}"
        for name, value in env.items():
            if isinstance(value, str | int | float):
                said.setdefault(name, {}).setdefault(str(value))
    return [(name, list(values)) for name, values in said.items()][:24]
