"""Plans against what runs measured."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.text import Text

from lowrank_bench.errors import ConfigError
from lowrank_bench.plan.grid import what_costs
from lowrank_bench.plan.show import plain_table
from lowrank_bench.plan.units import with_unit
from lowrank_bench.record import PLAN, RunRecord, find, write_atomically

# To the byte; the peak depends on an allocator, and is told.
EXACT = (
    *("params.total", "params.trainable", "weight_bytes", "buffer_bytes", "gradient_bytes"),
    *("optimizer_state_bytes", "projector_bytes", "adapter_bytes", "merged_model_bytes"),
)
TOLD = ("peak_memory_bytes", "flops_per_update")
ON_GPU = 0.1  # of the measured peak


@dataclass(frozen=True)
class Comparison:
    """One quantity of one run."""

    quantity: str
    planned: float | None
    measured: float | None
    must_agree: float | None  # relative; None where a difference is only told

    @property
    def agrees(self) -> bool | None:
        """None where it was not measured, or need not agree."""
        if self.planned is None or self.measured is None or self.must_agree is None:
            return None
        return abs(self.planned - self.measured) <= self.must_agree * self.measured


def compare(numbers: dict[str, Any], record: RunRecord) -> list[Comparison]:
    """The numbers of a plan beside those of the record; unmeasured ones left out."""
    planned = numbers | {f"params.{key}": value for key, value in numbers["params"].items()}
    planned["flops_per_update"] = numbers["flops"]["plain"]
    planned["merged_model_bytes"] = numbers["merged_bytes"]
    measured = record.cost | {f"params.{key}": value for key, value in record.params.items()}
    on_gpu = record.env.get("device") == "cuda"
    if not on_gpu:  # there an ordinary update was looked at, and what it allocated
        planned["peak_memory_bytes"] = numbers["update_peak_bytes"] - numbers["batch_bytes"]
    found = []
    for quantity in (*EXACT, *TOLD):
        bound = 0.0 if quantity in EXACT else None
        if quantity == "peak_memory_bytes" and on_gpu:
            bound = ON_GPU
        if measured.get(quantity) is not None:
            found.append(Comparison(quantity, planned[quantity], measured[quantity], bound))
    return found


def check_runs(paths: Sequence[str], console: Console) -> int:
    """Plan every run below `paths`, print both, and leave `plan.json` beside each record.

    Returns 1 where something that must agree does not.
    Raises: ConfigError where there is no run to compare with, or a plan cannot be written.
    """
    planned: dict[str, dict[str, Any]] = {}
    table = plain_table("run", "quantity", "planned", "measured", "ratio", " ")
    differs, total = 0, 0
    for path, record in _finished(paths):
        try:
            numbers = _planned(record, planned)
        except Exception as error:  # of another version, or of somebody's own parts
            said = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"lowrank-plan: {path}: cannot be planned ({said})", file=sys.stderr)
            continue
        found = compare(numbers, record)
        _keep(path, numbers, found)
        total += 1
        differs += any(each.agrees is False for each in found)
        for i, each in enumerate(found):
            verdict = {True: "equal", False: "DIFFERS", None: ""}[each.agrees]
            ratio = "" if not each.measured else f"{(each.planned or 0) / each.measured:.3f}"
            table.add_row(
                path.parent.name if i == 0 else "",
                each.quantity,
                _number(each.quantity, each.planned),
                _number(each.quantity, each.measured),
                ratio,
                Text(verdict, style="red" if each.agrees is False else "dim"),
            )
    if not total:
        raise ConfigError(f"--check={' '.join(paths)}: holds no run that can be planned")
    console.print(table)
    console.print(f"{total - differs} of {total} runs cost what was planned")
    return 1 if differs else 0


def _finished(paths: Sequence[str]) -> Iterator[tuple[Path, RunRecord]]:
    if not paths:
        raise ConfigError("--check: names no folder; say lowrank-plan --check runs")
    some = False
    for given in paths:
        if not Path(given).is_dir():
            raise ConfigError(f"--check={given}: there is no such folder")
        for path in find(Path(given)):
            try:
                record = RunRecord.read(path)
            except ValueError:  # the report says of which
                continue
            if record.status == "finished":
                some = True
                yield path, record
    if not some:
        raise ConfigError(f"--check={' '.join(paths)}: holds no finished run")


def _planned(record: RunRecord, planned: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The plan of the record's config, made once for all that cost the same."""
    from lowrank_bench.plan.plan import plan

    cfg = OmegaConf.create(record.config)
    assert isinstance(cfg, DictConfig)
    key = f"{what_costs(cfg)} {OmegaConf.to_yaml(cfg.run)}"
    if key not in planned:
        planned[key] = plan(cfg).to_dict()
    return planned[key]


def _keep(path: Path, numbers: dict[str, Any], found: Sequence[Comparison]) -> None:
    content = {
        "plan": numbers,
        "compared": [asdict(each) | {"agrees": each.agrees} for each in found],
    }
    try:
        write_atomically(path.parent / PLAN, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise ConfigError(
            f"{path.parent / PLAN}: cannot be written ({error.strerror}); the comparison of a run "
            "is kept beside its record"
        ) from None


def _number(quantity: str, value: float | None) -> str:
    if value is None:
        return "–"
    exact = f"{value:,.0f}"
    return f"{exact} ({with_unit(value)})" if quantity.endswith("bytes") else exact
