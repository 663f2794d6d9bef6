"""Which number a section compares, and how it is written."""

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Metric:
    column: str
    title: str
    is_fraction: bool  # shown in percent
    higher_is_better: bool = True

    @property
    def scale(self) -> float:
        return 100.0 if self.is_fraction else 1.0

    @property
    def axis(self) -> str:
        return f"{self.title} (%)" if self.is_fraction else f"{self.title} (mean per example)"

    @property
    def loss_column(self) -> str:
        """The loss on the same split."""
        return self.column.replace("accuracy", "loss")

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


# Test data outrank validation data; losses are for tasks that have no accuracy.
CANDIDATES = (
    Metric("test_accuracy", "Test accuracy", True),
    Metric("val_accuracy", "Validation accuracy", True),
    Metric("test_loss", "Test loss", False, higher_is_better=False),
    Metric("val_loss", "Validation loss", False, higher_is_better=False),
)


def selected_metric(runs: pl.DataFrame) -> Metric | None:
    """The first candidate that any run of the section has at its selected checkpoint."""
    return next(
        (m for m in CANDIDATES if runs[f"selected_{m.column}"].is_not_null().any()),
        None,
    )


def curve_metric(curves: pl.DataFrame, selected: Metric | None) -> Metric | None:
    """The section's metric where it was followed over epochs, else the next best.

    Test data are often measured at the selected checkpoint alone, which makes no curve.
    """
    wanted = (selected, *CANDIDATES) if selected else CANDIDATES
    followed = curves.filter(pl.col("epoch") > 0).group_by("run").agg(pl.all().count())
    return next((m for m in wanted if (followed[m.column] > 1).any()), None)
