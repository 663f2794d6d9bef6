import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from lowrank_bench.record import RunRecord, find, write_atomically

METRICS = [
    "train_loss",
    *("val_loss", "val_accuracy", "test_loss", "test_accuracy"),
    *("source_loss", "source_accuracy", "val_perplexity", "val_bits_per_byte"),
    *("test_perplexity", "test_bits_per_byte", "source_perplexity", "source_bits_per_byte"),
]
COSTS = [
    *(
        "num_updates",
        "train_flops",
        "train_seconds",
        "step_time_s",
        "examples_per_s",
        "tokens_per_s",
    ),
    *("flops_per_update", "flops_renewing_update", "energy_j"),
    *("peak_memory_bytes", "peak_reserved_bytes", "rss_peak_bytes"),
    *("weight_bytes", "buffer_bytes", "gradient_bytes"),
    *("optimizer_state_bytes", "projector_bytes"),
    *("checkpoint_bytes", "adapter_bytes", "merged_model_bytes", "merge_s", "switch_s"),
    *("receipt_seconds", "measuring_seconds"),
]
SECTIONS = [
    "schema",
    "status",
    "error",
    "fingerprint",
    "control_hash",
    "method_hash",
    "seed",
    "name",
    "config",
    "choices",
    "overrides",
    "env",
    "base",
    "params",
    "cost",
    "cost_source",
    "receipts",
    "metrics",
    "change",
]


def record(**changes: Any) -> RunRecord:
    options: dict[str, Any] = {
        "status": "finished",
        "fingerprint": "f" * 16,
        "control_hash": "c" * 16,
        "method_hash": "a" * 16,
        "seed": 3,
        "name": {"method": "lora", "rank": 8, "lr": 1e-3},
    }
    return RunRecord(**(options | changes))


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = record(
        status="diverged",
        error={"type": "Diverged", "message": "über alle Maßen"},
        config={"method": {"trainable": ["*"], "hooks": None}, "lr": 1e-3},
        choices={"method": "lora"},
        overrides=["lr=1e-3"],
        receipts={"moved": {"ok": True, "value": {"lora_A": True}, "note": ""}},
    )
    written.metrics["final"]["train_loss"] = 0.1 + 0.2
    path = written.write(tmp_path)
    assert path == tmp_path / "record.json"
    assert RunRecord.read(path) == written


def test_a_new_record_has_every_section_and_knows_nothing(tmp_path: Path) -> None:
    content = json.loads(record().write(tmp_path).read_text())
    assert list(content) == SECTIONS
    assert content["schema"] == 1
    assert content["params"] == {"total": None, "trainable": None, "by_role": {}, "targets": []}
    assert list(content["cost"]) == list(content["cost_source"]) == COSTS
    assert content["cost"].pop("step_time_s") == {"median": None, "p95": None}
    assert set(content["cost"].values()) == set(content["cost_source"].values()) == {None}
    unknown = dict.fromkeys(METRICS)
    assert content["metrics"] == {
        "final": unknown,
        "selected": unknown | {"epoch": None, "rule": None},
        "before": unknown,
    }


def test_two_records_share_nothing() -> None:
    first, second = record(), record()
    first.metrics["final"]["train_loss"] = 1.0
    first.cost["step_time_s"]["median"] = 1.0
    first.params["by_role"]["dense"] = 1
    assert second == record()


def test_what_is_not_a_number_is_unknown(tmp_path: Path) -> None:
    nan, infinity = float("nan"), float("inf")
    odd = record(receipts={"scale": {"ok": None, "value": [nan, (infinity, 1.5)], "note": ""}})
    odd.metrics["final"] |= {"train_loss": nan, "val_loss": -infinity, "val_accuracy": 0.5}
    text = odd.write(tmp_path).read_text()
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in {text}"))
    assert content["metrics"]["final"]["train_loss"] is None
    assert content["metrics"]["final"]["val_loss"] is None
    assert content["metrics"]["final"]["val_accuracy"] == 0.5
    assert content["receipts"]["scale"]["value"] == [None, [None, 1.5]]


def test_a_record_can_be_read_by_ones_colleagues(tmp_path: Path) -> None:
    assert stat.S_IMODE(record().write(tmp_path).stat().st_mode) == 0o644


@pytest.mark.parametrize(
    ("status", "is_result"),
    [
        ("finished", True),
        ("diverged", True),
        ("failed", False),
        ("oom", False),
        ("interrupted", False),
    ],
)
def test_only_what_finished_or_diverged_is_a_result(status: str, is_result: bool) -> None:
    assert record(status=status).is_result is is_result


# Atomic writing


@pytest.mark.parametrize("step", ["fsync", "replace", "chmod"])
def test_a_write_that_fails_leaves_the_old_file_and_no_neighbour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    old = record().write(tmp_path).read_bytes()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        record(seed=4).write(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]
    assert (tmp_path / "record.json").read_bytes() == old


def test_an_interrupted_write_leaves_the_old_file_and_no_neighbour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("old")

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]
    assert path.read_text() == "old"


def test_what_json_cannot_hold_leaves_the_old_file(tmp_path: Path) -> None:
    old = record().write(tmp_path).read_bytes()
    with pytest.raises(TypeError):
        record(config={"a": object()}).write(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]
    assert (tmp_path / "record.json").read_bytes() == old


# Reading


def test_find_goes_down_in_order_and_skips_hidden_folders(tmp_path: Path) -> None:
    for place in ("b/run-10", "b/run-1", "a", ".superseded/a", "b/.locks", "c/deep/er"):
        (tmp_path / place).mkdir(parents=True)
        record().write(tmp_path / place)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "other.json").write_text("{}")
    found = [str(path.relative_to(tmp_path).parent) for path in find(tmp_path)]
    assert found == ["a", "b/run-1", "b/run-10", "c/deep/er"]


def test_find_takes_a_runs_own_folder(tmp_path: Path) -> None:
    assert list(find(tmp_path)) == []
    path = record().write(tmp_path)
    assert list(find(tmp_path)) == [path]


@pytest.mark.parametrize("schema", [0, 2, None])
def test_a_record_of_another_schema_is_refused(tmp_path: Path, schema: Any) -> None:
    path = record(schema=schema).write(tmp_path)
    with pytest.raises(ValueError, match=r"record\.json: not a record of schema 1") as error:
        RunRecord.read(path)
    assert str(path) in str(error.value)


def broken() -> dict[str, bytes]:
    whole = json.dumps({"schema": 1, "status": "finished", "seed": 0}).encode()
    return {
        "torn": whole[: len(whole) // 2],
        "empty": b"",
        "no object": b"[1, 2]",
        "no text": b"\xff\xfe\x00",
        "not whole": whole,
    }


@pytest.mark.parametrize("content", broken().values(), ids=broken())
def test_a_broken_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"not a") as error:
        RunRecord.read(path)
    assert str(path) in str(error.value)


def test_sections_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    path = record().write(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"new": 1}))
    assert RunRecord.read(path) == record()
