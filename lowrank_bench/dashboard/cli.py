"""The command `lowrank-wandb`: sweeps, views and records back."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lowrank_bench.errors import ConfigError

MISTAKE, INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0, 2 after one line about what the user can mend, 130 for Ctrl-C.

    `run` returns what `lowrank-bench` does.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words[:1] == ["run"]:  # its words are a sweep's, and none of this parser
            from lowrank_bench.dashboard.agent import run

            return run(words[1:])
        given = _parser().parse_args(words)
        for line in given.do(given):
            print(line)
    except ConfigError as error:
        print(f"lowrank-wandb: {error}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("lowrank-wandb: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lowrank-wandb", description="Weights & Biases beyond logging."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("run", help="train one run of a sweep; for the command of its YAML")

    views = commands.add_parser("views", help="save the workspace, or a report, of a project")
    views.add_argument("project", metavar="ENTITY/PROJECT")
    views.add_argument("--report", action="store_true", help="a report instead of a workspace")
    views.add_argument("--dry-run", type=Path, metavar="FILE", help="write it here, send nothing")
    views.set_defaults(do=_views)

    importing = commands.add_parser("import", help="a project's runs as records")
    importing.add_argument("project", metavar="ENTITY/PROJECT")
    importing.add_argument("--into", type=Path, help="default: runs/wandb-ENTITY-PROJECT")
    importing.set_defaults(do=_import)

    reading = commands.add_parser("read", help="offline runs as records")
    reading.add_argument("folder", type=Path, help="with offline-run-* folders below it")
    reading.add_argument("--into", type=Path, required=True)
    reading.set_defaults(do=_read)

    study = commands.add_parser("study", help="log a study's figures, tables and rules")
    study.add_argument("folder", type=Path, help="of the study's runs, with study.json")
    study.add_argument("report", type=Path, help="the folder that lowrank-report wrote")
    study.add_argument("--project", default="lowrank_bench")
    study.add_argument("--entity")
    study.add_argument("--mode", default="auto", help="auto, online or offline")
    study.set_defaults(do=_study)
    return parser


def _views(given: argparse.Namespace) -> list[str]:
    from lowrank_bench.dashboard.server import project_of
    from lowrank_bench.dashboard.views import push, write

    entity, project = project_of(given.project)
    if given.dry_run is None:
        return [push(entity, project, as_report=given.report)]
    write(entity, project, given.dry_run, as_report=given.report)
    return [str(given.dry_run)]


def _import(given: argparse.Namespace) -> list[str]:
    from lowrank_bench.dashboard.importing import home_of, import_project

    into = given.into or home_of(given.project)
    return [f"{len(import_project(given.project, into))} records in {into}"]


def _read(given: argparse.Namespace) -> list[str]:
    from lowrank_bench.dashboard.importing import import_offline

    return [f"{len(import_offline(given.folder, given.into))} records in {given.into}"]


def _study(given: argparse.Namespace) -> list[str]:
    from lowrank_bench.dashboard.study import log_study

    log_study(
        given.folder,
        given.report,
        project=given.project,
        entity=given.entity,
        mode=given.mode,
    )
    return []


if __name__ == "__main__":
    sys.exit(main())
