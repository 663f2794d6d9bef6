"""A study's files beside the page: its tables for papers and notebooks, and what redraws it."""

import json
from collections.abc import Mapping
from dataclasses import asdict

from lowrank_bench.protocol import ledger, study
from lowrank_bench.protocol.per_example import per_example
from lowrank_bench.report.study.found import RANKS
from lowrank_bench.report.study.markup import latex, markdown
from lowrank_bench.report.study.view import View
from lowrank_bench.report.study_part import PageTable


def exported(view: View, shown: Mapping[str, PageTable]) -> dict[str, bytes]:
    """CSV in full precision of what the study found, Markdown and LaTeX of what the page shows.

    From the ledger and the compact table among them `lowrank-report` draws the study again.
    """
    told = {"schema": ledger.SCHEMA} | asdict(view.study.ledger)
    texts = {
        ledger.FILE: json.dumps(told, indent=1, ensure_ascii=False) + "\n",
        study.FILE: view.study.runs.drop("path").write_csv(),
    }
    if len(view.ranks):
        texts[RANKS] = view.ranks.write_csv()
    if view.study.ledger.metric is not None:
        frames = view.tables | view.measured
        texts |= {f"{name}.csv": frame.write_csv() for name, frame in frames.items()}
        if len(examples := per_example(view.study)):  # only where the runs themselves are at hand
            texts["examples.csv"] = examples.write_csv()
    for name, table in shown.items():
        texts |= {f"{name}.md": markdown(table), f"{name}.tex": latex(table)}
    return {name: text.encode() for name, text in texts.items()}
