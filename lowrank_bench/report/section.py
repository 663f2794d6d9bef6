"""A section is one control: what may be compared, and nothing else."""

from dataclasses import dataclass

import polars as pl

from lowrank_bench.report import aggregate
from lowrank_bench.report.adaptation import COLUMNS
from lowrank_bench.report.control import control_of, differences, heading
from lowrank_bench.report.load import Loaded
from lowrank_bench.report.metric import Metric, curve_metric, selected_metric, source_metric

# Names after which a table alone could be read without the page.
EXPORTED = (
    *("control_hash", "method_hash", "label", "method_label", "rank", "lr", "metric", "place"),
    *("num_runs", "n", "mean", "sd", "low", "high", "loss_mean", "loss_sd", "trainable"),
    *("train_seconds", "diverged", "unfinished", "num_with_failed_receipts"),
    *("perplexity", "bits_per_byte", "source_metric", *COLUMNS),
)


@dataclass(frozen=True)
class Section:
    """The runs of one control, aggregated."""

    number: int  # from 1, as in the figures' names
    control_hash: str
    heading: str
    control: dict[str, str]
    differing: list[str]  # names of the settings in which the controls differ
    runs: pl.DataFrame
    receipts: pl.DataFrame
    metric: Metric | None
    source_metric: Metric | None  # of what the base was trained on
    table: pl.DataFrame  # one row a configuration, the best first
    curve_metric: Metric | None
    curves: pl.DataFrame  # one row a configuration and epoch

    @property
    def shown(self) -> pl.DataFrame:
        """The configurations in the charts: measured, at their chosen learning rate."""
        return self.table.filter(pl.col("chosen") & (pl.col("n") > 0))

    @property
    def failed_receipts(self) -> pl.DataFrame:
        return self.receipts.filter(pl.col("ok").not_())

    @property
    def is_of_language(self) -> bool:
        return self.table["perplexity"].is_not_null().any()

    @property
    def num_epochs(self) -> int | None:
        last = self.curves["epoch"].max()
        return int(last) if isinstance(last, int) else None

    @property
    def exported(self) -> pl.DataFrame:
        names = {
            name: f"selected_{metric.column}" if metric else None
            for name, metric in (("metric", self.metric), ("source_metric", self.source_metric))
        }
        told = [pl.lit(column, pl.String).alias(name) for name, column in names.items()]
        return self.table.with_columns(told).select(EXPORTED)


def sections(loaded: Loaded) -> list[Section]:
    """One section for each control hash, in the order of their first runs."""
    groups = loaded.runs.partition_by("control_hash", maintain_order=True)
    first = [loaded.records[group["run"][0]] for group in groups]
    controls = [control_of(record) for record in first]
    differing = differences(controls)
    found = []
    for i, runs in enumerate(groups):
        metric = selected_metric(runs)
        epochs = loaded.curves.join(runs.select("run"), on="run", how="semi")
        source = source_metric(runs)
        followed = curve_metric(epochs, runs, metric)
        found.append(
            Section(
                number=i + 1,
                control_hash=first[i].control_hash,
                heading=heading(first[i], controls[i], differing),
                control=controls[i],
                differing=differing,
                runs=runs,
                receipts=loaded.receipts.join(runs.select("run", "label", "seed"), on="run"),
                metric=metric,
                source_metric=source,
                table=aggregate.configurations(runs, metric, source),
                curve_metric=followed,
                curves=aggregate.curves(epochs, runs, followed),
            )
        )
    return found
