"""The line that tells of a run that ended."""

import pytest

from lowrank_bench.record import RunRecord
from lowrank_bench.tally import Tally


def line(capsys: pytest.CaptureFixture[str], **selected: float) -> str:
    record = RunRecord(
        status="finished",
        fingerprint="f",
        control_hash="c",
        method_hash="m",
        seed=0,
        name={"method": "lora", "data": "d", "model": "m", "rank": 8, "lr": 0.1},
    )
    record.metrics["selected"] |= selected
    tally = Tally()
    tally.expect(1)
    tally.reused(record)
    return capsys.readouterr().out


def test_a_classifier_tells_its_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    assert " test 91.20% " in line(capsys, test_accuracy=0.912, val_accuracy=0.9)
    assert " val 90.00% " in line(capsys, val_accuracy=0.9)


def test_a_language_model_tells_its_perplexity(capsys: pytest.CaptureFixture[str]) -> None:
    told = line(capsys, test_accuracy=0.3, test_perplexity=12.345, val_perplexity=11.0)
    assert " test ppl 12.35" in told or " test ppl 12.34" in told
    assert "%" not in told
    assert " val ppl 11 " in line(capsys, val_accuracy=0.3, val_perplexity=11.0)


def test_a_run_without_results_tells_none(capsys: pytest.CaptureFixture[str]) -> None:
    told = line(capsys)
    assert "ppl" not in told and "%" not in told and "lora" in told
