"""What cannot be exported is one line, exit code 2, and leaves nothing."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lowrank_bench.export import export as exporting
from lowrank_bench.export.cli import main
from lowrank_bench.export.folder import whole

Trained = Callable[..., Path]
Damaged = Callable[..., Path]


@pytest.fixture
def run(trained: Trained) -> Path:
    return trained("pair=digits_halves", "method=lora")


@pytest.fixture
def copied(damaged: Damaged, run: Path) -> Path:
    """A run of one's own to spoil."""
    return damaged(run, lambda state: None)


def complaint(capsys: pytest.CaptureFixture[str], *words: Any) -> str:
    """The one line that the command ends with."""
    assert main([str(word) for word in words]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert line.startswith("lowrank-export: ")
    return line


def changed(folder: Path, **values: Any) -> None:
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps(record | values))


def test_the_command_says_what_it_wrote(run: Path, tmp_path: Path, capsys) -> None:
    before = {path: path.read_bytes() for path in run.parent.rglob("*") if path.is_file()}
    assert main([str(run), "--to", "peft", str(tmp_path / "deeper" / "out")]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert told.out.startswith("LoRA of rank 2 on 2 layers, whole: head; base: ")
    assert f"bytes in {tmp_path}/deeper/out" in told.out
    assert [p.name for p in (tmp_path / "deeper").iterdir()] == ["out"]
    modes = {p.stat().st_mode & 0o777 for p in (tmp_path / "deeper" / "out").rglob("*")}
    assert modes == {0o755, 0o644}  # for one's colleagues too
    assert {p: p.read_bytes() for p in run.parent.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_what_exists_is_not_overwritten(run: Path, tmp_path: Path, capsys, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("precious")
    elif kind == "folder":
        out.mkdir()
    else:
        out.symlink_to(tmp_path / "nowhere")
    assert f"OUT={out}: exists already" in complaint(capsys, run, "--to", "merged", out)
    assert list(tmp_path.iterdir()) == [out]


def test_a_file_is_no_place_for_a_folder(run: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("precious")
    line = complaint(capsys, run, "--to", "merged", tmp_path / "file" / "out")
    assert f"{tmp_path}/file is a file" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="permission bits do not bind root")
def test_a_folder_that_cannot_be_written_is_named(run: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    line = complaint(capsys, run, "--to", "merged", tmp_path / "locked" / "out")
    assert "cannot be written" in line


@pytest.mark.parametrize("to", ["peft", "merged", "dense-delta"])
def test_a_folder_without_a_run_is_named(tmp_path: Path, capsys, to: str) -> None:
    line = complaint(capsys, tmp_path / "no", "--to", to, tmp_path / "out")
    assert f"RUN={tmp_path}/no: is no folder of a run" in line


@pytest.mark.parametrize("content", ["", "[1]", '{"schema": 0}', '{"schema": 1}'])
def test_a_record_that_is_none_is_named(tmp_path: Path, capsys, content: str) -> None:
    (tmp_path / "record.json").write_text(content)
    line = complaint(capsys, tmp_path, "--to", "merged", tmp_path / "out")
    assert f"RUN={tmp_path}/record.json: not a" in line


@pytest.mark.parametrize("status", ["failed", "diverged", "oom", "interrupted"])
def test_a_run_that_did_not_finish_is_named(
    copied: Path, tmp_path: Path, capsys, status: str
) -> None:
    changed(copied, status=status, error={"type": "T", "message": "for a reason"})
    line = complaint(capsys, copied, "--to", "merged", tmp_path / "out")
    assert f"not finished but {status} (for a reason)" in line


def test_a_missing_checkpoint_is_named(copied: Path, tmp_path: Path, capsys) -> None:
    (copied / "last.ckpt").unlink()
    line = complaint(capsys, copied, "--to", "merged", tmp_path / "out")
    assert line.endswith(f"RUN={copied}: its checkpoint last.ckpt is missing")


def test_a_torn_checkpoint_is_named(copied: Path, tmp_path: Path, capsys) -> None:
    content = (copied / "last.ckpt").read_bytes()
    (copied / "last.ckpt").write_bytes(content[: len(content) // 2])
    line = complaint(capsys, copied, "--to", "merged", tmp_path / "out")
    assert "last.ckpt cannot be read" in line


def test_a_pickle_is_not_run(copied: Path, tmp_path: Path, capsys) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "harm",)

    torch.save({"state_dict": Harm()}, copied / "last.ckpt")
    assert "last.ckpt cannot be read" in complaint(capsys, copied, "--to", "peft", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite_are_named(
    damaged: Damaged, run: Path, tmp_path: Path, capsys
) -> None:
    def diverged(state: dict[str, torch.Tensor]) -> None:
        state["model.hidden.0.A"][0, 0] = torch.nan

    line = complaint(capsys, damaged(run, diverged), "--to", "merged", tmp_path / "out")
    assert "'hidden.0.A' holds NaN or infinity" in line


def test_weights_of_another_model_are_named(
    damaged: Damaged, run: Path, tmp_path: Path, capsys
) -> None:
    def other(state: dict[str, torch.Tensor]) -> None:
        del state["model.hidden.0.A"]

    line = complaint(capsys, damaged(run, other), "--to", "merged", tmp_path / "out")
    assert "do not fit the model of its config" in line and "hidden.0.A" in line


def test_a_missing_base_is_named(copied: Path, tmp_path: Path, capsys) -> None:
    shutil.rmtree(copied.parent / ".bases")
    line = complaint(capsys, copied, "--to", "peft", tmp_path / "out")
    assert f"the base that it began with is not in {copied.parent / '.bases'}" in line


def test_another_base_than_the_run_began_with_is_named(
    copied: Path, tmp_path: Path, capsys
) -> None:
    fingerprint = json.loads((copied / "record.json").read_text())["base"]["fingerprint"]
    (base,) = (copied.parent / ".bases").glob(f"*-{fingerprint}/last.ckpt")
    content = torch.load(base, weights_only=True)
    content["state_dict"]["model.hidden.0.weight"] += 1
    torch.save(content, base)
    line = complaint(capsys, copied, "--to", "peft", tmp_path / "out")
    assert "the base's weights are not those that it began with" in line


def test_a_config_of_another_version_is_named(copied: Path, tmp_path: Path, capsys) -> None:
    record = json.loads((copied / "record.json").read_text())
    del record["config"]["budget"]
    changed(copied, config=record["config"])
    line = complaint(capsys, copied, "--to", "merged", tmp_path / "out")
    assert "its config is not one of this version" in line


def test_what_computes_something_else_when_read_back_is_not_kept(
    run: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    write = exporting.write_merged

    def wrong(*arguments: Any) -> Any:
        model, what = write(*arguments)
        model.get_parameter("head.bias").data += 1e-2
        return model, what

    monkeypatch.setattr(exporting, "write_merged", wrong)
    line = complaint(capsys, run, "--to", "merged", tmp_path / "out")
    assert "computes something else" in line
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_export_leaves_nothing(
    run: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    def interrupted(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "write_merged", interrupted)
    assert main([str(run), "--to", "merged", str(tmp_path / "out")]) == 130
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exists already"), whole(tmp_path / "out") as folder:
        (folder / "ours").touch()
        (tmp_path / "out").mkdir()
    assert [p.name for p in tmp_path.rglob("*")] == ["out"]


def test_an_unknown_kind_is_a_mistake(run: Path, tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(run), "--to", "gguf", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert "gguf" in capsys.readouterr().err


def test_the_command_answers_before_torch_is_loaded() -> None:
    code = "import sys, lowrank_bench.export.cli; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
