"""A study's ledger and the table of its runs: all that its verdicts come from."""

import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from lowrank_bench.errors import ConfigError
from lowrank_bench.protocol.ledger import Ledger

FILE = "study_runs.csv"  # the compact table; beside study.json it is enough to draw all again

TUNE, FINAL, DUPLICATE = "tune", "final", "duplicate"
# What a run has in the study, before what it has by itself
OF_STUDY = ("arm", "stage", "trial", "setting")
# What the table keeps of a run, under the names of a report's runs.csv
OF_RUN = {
    "method_label": pl.String,
    "rank": pl.Int64,
    "lr": pl.Float64,
    "seed": pl.Int64,
    "fingerprint": pl.String,
    "control_hash": pl.String,
    "method_hash": pl.String,
    "status": pl.String,
    "num_failed_receipts": pl.Int64,
    "selected_epoch": pl.Int64,
    "selected_val_accuracy": pl.Float64,
    "selected_val_loss": pl.Float64,
    "selected_test_accuracy": pl.Float64,
    "selected_test_loss": pl.Float64,
    "before_source_accuracy": pl.Float64,
    "selected_source_accuracy": pl.Float64,
    "before_source_loss": pl.Float64,
    "selected_source_loss": pl.Float64,
    "params_total": pl.Int64,
    "params_trainable": pl.Int64,
    "num_updates": pl.Float64,
    "train_flops": pl.Float64,
    "train_seconds": pl.Float64,
    "optimizer_state_bytes": pl.Float64,
    "weight_bytes": pl.Float64,
    "adapter_bytes": pl.Float64,
    "peak_memory_bytes": pl.Float64,
    "change_relative_norm": pl.Float64,
    "change_stable_rank": pl.Float64,
    "change_components_90": pl.Float64,
    "device": pl.String,
    "path": pl.String,  # of the record, where there is one
}
SCHEMA = pl.Schema(
    {"arm": pl.String, "stage": pl.String, "trial": pl.Int64, "setting": pl.String} | OF_RUN
)


@dataclass(frozen=True)
class Study:
    """`runs` has one row a run that the ledger names and that left a record (columns SCHEMA).

    `stage` is tune, final or duplicate; `trial` is the number of the setting among its arm's;
    `setting` is JSON. A run that is missing has no row.
    """

    ledger: Ledger
    runs: pl.DataFrame

    @property
    def val(self) -> str:
        """The column that was tuned on."""
        return f"selected_val_{self.ledger.metric}"

    @property
    def test(self) -> str:
        """The column that is compared."""
        return f"selected_test_{self.ledger.metric}"

    def stage(self, stage: str) -> pl.DataFrame:
        return self.runs.filter(pl.col("stage") == stage)

    @classmethod
    def of(cls, ledger: Ledger, runs: pl.DataFrame, duplicates: pl.DataFrame) -> "Study":
        """From frames with one row a record, as a report reads them."""
        named = [
            (arm.name, TUNE, i, json.dumps(trial.setting), fingerprint)
            for arm in ledger.arms
            for i, trial in enumerate(arm.trials)
            for fingerprint in trial.runs.values()
        ]
        named += [
            (arm.name, FINAL, arm.selected, _selected(arm.trials, arm.selected), fingerprint)
            for arm in ledger.arms
            for fingerprint in arm.runs.values()
        ]
        twice = [
            (arm.name, DUPLICATE, arm.selected, _selected(arm.trials, arm.selected), fingerprint)
            for arm in ledger.arms
            if (fingerprint := arm.runs.get(ledger.duplicates.get(arm.name, -1)))
        ]
        parts = [_joined(named, runs), _joined(twice, duplicates)]
        return cls(ledger, pl.concat(parts))

    def write(self, folder: Path) -> None:
        """The ledger and the compact table, from which `read` makes the same study."""
        folder.mkdir(parents=True, exist_ok=True)
        self.ledger.write(folder)
        self.runs.drop("path").write_csv(folder / FILE)

    @classmethod
    def read(cls, folder: Path) -> "Study":
        """From a ledger and a compact table, without any record.

        Raises: FileNotFoundError, or ConfigError when one of the two is something else.
        """
        ledger = Ledger.read(folder)
        schema = {name: kind for name, kind in SCHEMA.items() if name != "path"}
        try:
            runs = pl.read_csv(folder / FILE, schema=schema)
        except pl.exceptions.PolarsError as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"{folder / FILE}: not the table of a study ({reason})") from None
        return cls(ledger, runs.with_columns(path=pl.lit(None, pl.String)))


def _selected(trials: list, selected: int | None) -> str | None:
    return None if selected is None else json.dumps(trials[selected].setting)


def _joined(named: list[tuple], runs: pl.DataFrame) -> pl.DataFrame:
    schema = {name: SCHEMA[name] for name in OF_STUDY} | {"fingerprint": pl.String}
    known = [name for name in OF_RUN if name in runs.columns]
    table = pl.DataFrame(named, schema=schema, orient="row").join(
        runs.select(known), on="fingerprint", how="inner", maintain_order="left"
    )
    missing = [
        pl.lit(None, SCHEMA[name]).alias(name) for name in SCHEMA if name not in table.columns
    ]
    return table.with_columns(missing).select(list(SCHEMA)).cast(dict(SCHEMA))  # type: ignore[arg-type]
