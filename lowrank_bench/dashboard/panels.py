"""The views, as plain data: what W&B shows, and under which name the local page shows the same.

Names of columns are those of loggers/naming.py; docs/wandb.md lists them.
"""

from dataclasses import dataclass
from typing import Literal

FINAL = "selected/test_accuracy"  # asked once, of a selected checkpoint
TUNED = "selected/val_accuracy"  # what a setting may be chosen by


@dataclass(frozen=True)
class Axis:
    """One column of the runs' table."""

    name: str
    source: Literal["config", "summary"] = "summary"
    log: bool = False


@dataclass(frozen=True)
class Scatter:
    """A point for each run."""

    title: str
    x: Axis
    y: Axis


@dataclass(frozen=True)
class Parallel:
    """A line for each run through all of its columns."""

    title: str
    columns: tuple[Axis, ...]


@dataclass(frozen=True)
class Bars:
    """The sum of a column over the runs of each method."""

    title: str
    name: str


@dataclass(frozen=True)
class Lines:
    """A metric over epochs; seeds of one group are averaged, with their range."""

    title: str
    name: str


Panel = Scatter | Parallel | Bars | Lines


@dataclass(frozen=True)
class Section:
    title: str
    about: str  # what to look for, and what not to conclude
    local: str  # where the page of `lowrank-report` shows it
    panels: tuple[Panel, ...]


RANK = Axis("rank", "config", log=True)
LR = Axis("lr", "config", log=True)
TEST, VAL = Axis(FINAL), Axis(TUNED)
TRAINABLE = Axis("params/trainable", log=True)

SECTIONS = (
    Section(
        "Accuracy against rank",
        "Each point is one run; runs that differ in learning rate alone are not repeats.",
        "figure `rank`",
        (Scatter("Test accuracy against rank", RANK, TEST),),
    ),
    Section(
        "Learning rate",
        "Where is each method's best learning rate, and how wide is the good range? "
        "A best point at the edge of the grid is not tuned.",
        "a study's figures `rates` and `best-rates`",
        (Scatter("Validation accuracy against learning rate", LR, VAL),),
    ),
    Section(
        "Accuracy against cost",
        "The upper left edge of each cloud is the frontier; the page draws it with intervals.",
        "figure `parameters`; a study's figures `costs` and `budgets`",
        (
            Scatter("Test accuracy against trainable parameters", TRAINABLE, TEST),
            Scatter(
                "Test accuracy against FLOPs per update",
                Axis("cost/flops_per_update", log=True),
                TEST,
            ),
            Scatter(
                "Test accuracy against peak memory",
                Axis("cost/peak_memory_bytes", log=True),
                TEST,
            ),
        ),
    ),
    Section(
        "All at once",
        "Drag along an axis to keep a range of it.",
        "the filters, and tables that sort",
        (
            Parallel(
                "From method to test accuracy",
                (Axis("method_name", "config"), RANK, LR, TRAINABLE, TEST),
            ),
        ),
    ),
    Section(
        "Learning and forgetting",
        "Adaptation only: what was learnt, against what is left of the source.",
        "figure `forgetting`",
        (
            Scatter(
                "Test accuracy against accuracy on the source",
                Axis("selected/source_accuracy"),
                TEST,
            ),
        ),
    ),
    Section(
        "Receipts",
        "Checks that a method really acted; a bar here means that a run did not do what it says.",
        "the receipts that failed, and the table of all",
        (Bars("Failed receipts by method", "receipts/failed"),),
    ),
    Section(
        "Curves",
        "Over epochs, the seeds of one setting together.",
        "figure `curves`",
        (
            Lines("Validation accuracy", "val_accuracy"),
            Lines("Validation loss", "val_loss"),
        ),
    ),
)
