"""One study as a part of the page."""

from pathlib import Path

import polars as pl

from lowrank_bench.protocol.study import Study
from lowrank_bench.protocol.verdicts import verdicts
from lowrank_bench.protocol.wording import plural
from lowrank_bench.report.allocation import allocation
from lowrank_bench.report.figure import Figure
from lowrank_bench.report.load import Loaded
from lowrank_bench.report.palette import Palette
from lowrank_bench.report.study import found, tables, tuning_tables
from lowrank_bench.report.study.best_rates import best_rates
from lowrank_bench.report.study.budgets import budgets
from lowrank_bench.report.study.costs import costs
from lowrank_bench.report.study.exported import exported
from lowrank_bench.report.study.forest import forests
from lowrank_bench.report.study.forgetting import forgetting
from lowrank_bench.report.study.headline import headline
from lowrank_bench.report.study.progress import missing
from lowrank_bench.report.study.rates import rates
from lowrank_bench.report.study.same_rate import same_rate
from lowrank_bench.report.study.spectra import spectra
from lowrank_bench.report.study.view import View
from lowrank_bench.report.study_part import PageTable, StudyPart

MOST_NAMED = 4  # arms that are not ranked, one line each
WIDE = ("against", "best-rates", "same-rate", "forgetting", "allocation")
TABLES = {  # by the name of their files, in the page's order
    "leaderboard": tables.leaderboard,
    "comparisons": tables.comparisons,
    "slices": tables.slices,
    "equal_lr": tuning_tables.equal_lr,
    "tuning": tuning_tables.tuning,
    "trials": tuning_tables.trials,
    "failures": tuning_tables.failures,
    "protocol": tuning_tables.protocol,
}


def view_of(folder: Path, loaded: Loaded | None) -> View:
    study = found.read(folder, loaded)
    return View(study, _palette(study, loaded), found.read_ranks(folder, study, loaded))


def _palette(study: Study, loaded: Loaded | None) -> Palette:
    """The report's own, so that a method has one colour in it; else one of the arms."""
    arms = [(arm.method, arm.rank) for arm in study.ledger.arms]
    schema = {"method_label": pl.String, "rank": pl.Int64}
    own = Palette.of(pl.DataFrame(arms, schema=schema, orient="row"))
    if loaded is None or loaded.runs.is_empty():
        return own
    whole = Palette.of(loaded.runs)
    return Palette(
        methods=[*whole.methods, *(m for m in own.methods if m not in whole.methods)],
        ranks=sorted({*whole.ranks, *own.ranks}),
    )


def part(view: View, number: int, folder: str) -> StudyPart:
    """`folder` is where its files go, beside the page."""
    drawn = figures(view)
    made = page_tables(view)
    picture = headline(view)
    files = exported(view, made) | ({"headline.png": picture} if picture else {})
    return StudyPart(
        number=number,
        heading=f"Study {view.study.ledger.name}",
        findings=findings(view),
        warnings=missing(view.study),
        figures=drawn,
        tables=list(made.values()),
        control=view.study.ledger.control_hash,
        wide=[each.name for each in drawn if each.name.startswith(WIDE)],
        files={f"{folder}/{name}": content for name, content in files.items()},
    )


def findings(view: View) -> list[str]:
    """The verdicts; of many arms that are not ranked their number alone."""
    if view.study.ledger.metric is None:
        return ["No run has given a result yet: nothing can be said."]
    said = verdicts(view.study, view.leaderboard, view.comparisons)
    unranked = view.leaderboard.filter(~pl.col("ranked"))["arm"].to_list()
    starts = tuple(f"{arm} is not ranked: " for arm in unranked)
    if len(unranked) <= MOST_NAMED:
        return said
    at = next((i for i, each in enumerate(said) if each.startswith(starts)), len(said))
    told = f"{plural(len(unranked), 'arm')} are not ranked; the leaderboard says why."
    kept = [each for each in said if not each.startswith(starts)]
    return [*kept[:at], told, *kept[at:]]


def figures(view: View) -> list[Figure]:
    """What there are data for, what a reader asks first at the top."""
    if view.study.ledger.metric is None:
        return []
    drawn = [
        *forests(view),
        costs(view),
        forgetting(view),
        budgets(view),
        rates(view),
        best_rates(view),
        same_rate(view),
        spectra(view),
        allocation(view.ranks),
    ]
    return [each for each in drawn if each is not None]


def page_tables(view: View) -> dict[str, PageTable]:
    """Those that have a row, by the name of their files."""
    if view.study.ledger.metric is None:
        return {"protocol": tuning_tables.protocol(view)}
    made = {name: table(view) for name, table in TABLES.items()}
    return {name: table for name, table in made.items() if table.rows}
