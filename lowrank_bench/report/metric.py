"""Which number a section compares, and how it is written."""

from dataclasses import dataclass

import polars as pl

NATS = "nats a token"


@dataclass(frozen=True)
class Metric:
    column: str
    title: str
    is_fraction: bool  # shown in percent
    higher_is_better: bool = True
    unit: str = "mean per example"  # of a loss

    @property
    def scale(self) -> float:
        return 100.0 if self.is_fraction else 1.0

    @property
    def sign(self) -> int:
        """What turns a difference into a gain."""
        return 1 if self.higher_is_better else -1

    @property
    def axis(self) -> str:
        return f"{self.title} ({'%' if self.is_fraction else self.unit})"

    @property
    def loss_column(self) -> str:
        """The loss on the same split."""
        return self.on_same_part("loss")

    @property
    def difference_unit(self) -> str:
        return "points" if self.is_fraction else self.unit

    def on_same_part(self, name: str) -> str:
        """The column of another metric on the same split: test_perplexity beside test_loss."""
        return f"{self.column.partition('_')[0]}_{name}"

    def on_part(self, part: str) -> str:
        """The column of the same metric on another split: val_loss beside test_loss."""
        return f"{part}_{self.column.partition('_')[2]}"

    def text(self, value: float | None) -> str:
        if value is None:
            return "–"
        return f"{100 * value:.1f} %" if self.is_fraction else f"{value:.4f}"

    def text_with_spread(self, mean: float | None, sd: float | None) -> str:
        if mean is None or sd is None:
            return self.text(mean)
        if self.is_fraction:
            return f"{100 * mean:.1f} ± {100 * sd:.1f} %"
        return f"{mean:.4f} ± {sd:.4f}"

    def difference(self, value: float | None) -> str:
        """A difference of two values, without its unit."""
        if value is None:
            return "–"
        text = f"{100 * value:.1f}" if self.is_fraction else f"{value:.4f}"
        return text.removeprefix("-") if not float(text) else text


# Test data outrank validation data; losses are for tasks that have no accuracy.
CANDIDATES = (
    Metric("test_accuracy", "Test accuracy", True),
    Metric("val_accuracy", "Validation accuracy", True),
    Metric("test_loss", "Test loss", False, higher_is_better=False),
    Metric("val_loss", "Validation loss", False, higher_is_better=False),
)
# How often the next token is the likeliest one says little of a language model.
OF_LANGUAGE = (
    Metric("test_loss", "Test loss", False, higher_is_better=False, unit=NATS),
    Metric("val_loss", "Validation loss", False, higher_is_better=False, unit=NATS),
)
OF_SOURCE = (
    Metric("source_accuracy", "Source accuracy", True),
    Metric("source_loss", "Source loss", False, higher_is_better=False),
)
OF_SOURCE_LANGUAGE = (
    Metric("source_loss", "Source loss", False, higher_is_better=False, unit=NATS),
)


def has(runs: pl.DataFrame, name: str) -> bool:
    """Whether any run has the metric `name` at its selected checkpoint."""
    return runs[f"selected_{name}"].is_not_null().any()


def candidates(runs: pl.DataFrame) -> tuple[Metric, ...]:
    """What the runs of a section may be compared by, the best first."""
    is_language = has(runs, "test_perplexity") or has(runs, "val_perplexity")
    return OF_LANGUAGE if is_language else CANDIDATES


def selected_metric(runs: pl.DataFrame) -> Metric | None:
    """The first candidate that any run of the section has at its selected checkpoint."""
    return next((m for m in candidates(runs) if has(runs, m.column)), None)


def source_metric(runs: pl.DataFrame) -> Metric | None:
    """What is asked of the base's source; None where no run was asked about one."""
    wanted = OF_SOURCE_LANGUAGE if has(runs, "source_perplexity") else OF_SOURCE
    return next((m for m in wanted if has(runs, m.column)), None)


def curve_metric(
    curves: pl.DataFrame, runs: pl.DataFrame, selected: Metric | None
) -> Metric | None:
    """The section's metric where it was followed over epochs, else the next best.

    Test data are often measured at the selected checkpoint alone, which makes no curve.
    """
    wanted = (selected, *candidates(runs)) if selected else candidates(runs)
    followed = curves.filter(pl.col("epoch") > 0).group_by("run").agg(pl.all().count())
    return next((m for m in wanted if (followed[m.column] > 1).any()), None)
