"""Plans beside what runs measured."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from lowrank_bench.errors import ConfigError
from lowrank_bench.job import Job
from lowrank_bench.plan.check import check_runs, compare
from lowrank_bench.plan.plan import plan
from lowrank_bench.record import PLAN, RunRecord

Ran = Callable[..., tuple[Path, RunRecord]]


@pytest.fixture
def ran(composed: Callable[..., DictConfig], tmp_path: Path) -> Ran:
    """A real run of a moment, and the record that it left."""
    from lowrank_bench.run import run

    def train(*overrides: str) -> tuple[Path, RunRecord]:
        cfg = composed("data=digits", "model.hidden=[32,32]", "rank=4", "epochs=1", *overrides)
        whole = OmegaConf.create({**cfg, "hydra": {"runtime": {"choices": {}}}})
        folder = tmp_path / "runs" / "-".join(overrides).replace("/", "_")
        folder.mkdir(parents=True)
        record = Job(whole, []).new_record()
        assert run(whole, record, folder, lambda message: None, alone=False) == 0
        return folder, RunRecord.read(folder / "record.json")

    return train


def said(capsys: pytest.CaptureFixture[str], *paths: Path) -> tuple[int, str]:
    code = check_runs([str(path) for path in paths], Console(width=160))
    return code, capsys.readouterr().out


def test_a_run_costs_what_was_planned(ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    folder, record = ran("method=galore")
    code, out = said(capsys, folder)
    assert code == 0
    assert "1 of 1 runs cost what was planned" in out
    kept = json.loads((folder / PLAN).read_text())
    found = {each["quantity"]: each for each in kept["compared"]}
    for quantity in ("weight_bytes", "gradient_bytes", "optimizer_state_bytes", "projector_bytes"):
        assert found[quantity]["planned"] == record.cost[quantity] == found[quantity]["measured"]
        assert found[quantity]["agrees"] is True
    assert found["flops_per_update"]["planned"] == record.cost["flops_per_update"]
    peak = found["peak_memory_bytes"]
    assert peak["planned"] == pytest.approx(peak["measured"], rel=0.1)


def test_a_record_that_says_otherwise_is_found_out(
    ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, record = ran("method=lora")
    record.cost["optimizer_state_bytes"] += 4
    record.write(folder)
    code, out = said(capsys, folder.parent)
    assert code == 1
    assert "DIFFERS" in out and "0 of 1 runs cost what was planned" in out


def test_a_gpus_peak_must_agree_within_a_tenth(composed: Callable[..., DictConfig]) -> None:
    numbers: dict[str, Any] = plan(composed("data=digits", "method=lora")).to_dict()
    record = RunRecord(
        status="finished", fingerprint="f", control_hash="c", method_hash="m", seed=0, name={}
    )
    record.env["device"] = "cuda"
    for factor, agrees in ((1.09, True), (0.92, True), (1.2, False), (0.8, False)):
        record.cost["peak_memory_bytes"] = numbers["peak_memory_bytes"] * factor
        (peak,) = compare(numbers, record)
        assert (peak.quantity, peak.agrees) == ("peak_memory_bytes", agrees)


def test_runs_without_a_result_are_not_compared(tmp_path: Path) -> None:
    RunRecord(
        status="failed", fingerprint="f", control_hash="c", method_hash="m", seed=0, name={}
    ).write(tmp_path)
    (tmp_path / "corrupt").mkdir()
    (tmp_path / "corrupt" / "record.json").write_text("{")
    with pytest.raises(ConfigError, match="holds no finished run"):
        check_runs([str(tmp_path)], Console())


def test_a_record_that_cannot_be_planned_is_passed_over_with_a_word(
    ran: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "runs" / "old"
    other.mkdir(parents=True)
    RunRecord(
        status="finished", fingerprint="f", control_hash="c", method_hash="m", seed=0, name={}
    ).write(other)
    with pytest.raises(ConfigError, match="holds no run that can be planned"):
        check_runs([str(other)], Console())
    assert f"{other / 'record.json'}: cannot be planned" in capsys.readouterr().err
    ran("method=full")
    code, out = said(capsys, tmp_path / "runs")
    assert (code, "1 of 1 runs cost what was planned" in out) == (0, True)
