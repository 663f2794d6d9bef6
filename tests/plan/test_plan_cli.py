"""The command: its tables, its files, and one line for every mistake."""

import csv
import json
from pathlib import Path

import pytest

from lowrank_bench.plan.cli import main

SMALL = ("model=llama_9m", "data.length=16", "budget.batch_size=2")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    told = capsys.readouterr()
    return code, told.out.replace("\u00a0", " "), told.err.replace("\u00a0", " ")


def test_one_config_is_told_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, *SMALL, "method=galore", "--layers", "--activations")
    assert code == 0
    for line in ("8,995,968", "exp_avg", "projection", "every 200 updates", "break-even rank"):
        assert line in out
    assert "hf.model.layers.0.self_attn.q_proj" in out
    assert "checkpointed" in out


def test_several_are_a_table_with_units(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "-m", *SMALL, "method=full,lora,apollo_mini", "rank=2,4")
    assert code == 0
    rows = [line.split()[:2] for line in out.splitlines()[3:7]]
    assert rows == [["full", "–"], ["lora", "2"], ["lora", "4"], ["apollo_mini", "1"]]
    assert "Sizes in MiB." in out


def test_what_fits_is_told_with_its_batch(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("-m", *SMALL, "method=full,lora", "model.trains=[]", "method.head=null")
    code, out, _ = run(capsys, *words, "--fits", "100MiB")
    assert code == 0
    assert "batch that fits" in out
    full, lora = (
        line.split()[-1] for line in out.splitlines() if line.startswith(("full", "lora"))
    )
    assert full == "none" and int(lora) >= 1


def test_several_devices_share_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    words = (*SMALL, "method=full", "run.devices=2", "--strategy", "fsdp")
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert "each of 2 devices, fsdp" in out and "in transit" in out


def test_files_hold_the_numbers_and_a_picture(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "plan"
    code, told, _ = run(capsys, "-m", *SMALL, "method=full,lora", "--out", str(out))
    assert code == 0 and told.splitlines()[-1] == str(out / "index.html")
    rows = list(csv.DictReader((out / "plan.csv").read_text().splitlines()))
    assert [row["method"] for row in rows] == ["full", "lora"]
    assert rows[0]["weight_bytes"] == str(4 * 8_995_968)
    full, _ = json.loads((out / "plan.json").read_text())
    assert full["state"]["exp_avg"] == {"elements": 8_995_968, "bytes": 4 * 8_995_968}
    page = (out / "index.html").read_text()
    assert "<svg" in page and "http://" not in page.replace("http://www.w3.org", "")
    assert (out / "memory.png").read_bytes().startswith(b"\x89PNG")


def test_eight_bits_are_asked_for_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "data=digits", "method=full", "--states", "8bit")
    assert code == 0 and "state1" in out


MISTAKES = {
    "an unknown shape": (["model=llama_8b"], "model=llama_8b: there is no such choice"),
    "a size without a unit": (["--fits", "24"], "--fits=24: must be a number with a unit"),
    "a batch that does not fit": (
        ["data=digits", "budget.batch_size=4096", "--fits", "8MiB"],
        "budget.batch_size=4096: 4096 examples at once do not fit into 8.00 MiB;",
    ),
    "a model that does not fit": (
        ["model=llama_9m", "--fits", "1MiB"],
        "--fits=1.00 MiB: a single example of model=llama_9m method=lora rank=8 needs",
    ),
    "none of several": (
        ["-m", "model=llama_9m", "method=full,lora", "--fits", "1MiB"],
        "--fits=1.00 MiB: a single example of",
    ),
    "8 bits of SGD": (
        ["method/optimizer=sgd", "--states", "8bit"],
        "--states=8bit: method=lora steps by SGD, which has no state of 8 bits",
    ),
    "half a state beside whole weights": (
        ["--states", "bf16"],
        "--states=bf16: AdamW keeps its state in the precision of the weights, which is 32-true",
    ),
    "a precision of states that there is not": (
        ["--states", "4bit"],
        "--states=4bit: must be one of fp32, bf16, 8bit",
    ),
    "a precision that there is not": (["precision=8-true"], "precision=8-true: must be one of"),
    "a sweep without -m": (["rank=1,2"], "rank=1,2: several values make a sweep; say -m rank=1,2"),
    "a rank of nothing": (["rank=0"], "rank=0: must be a positive whole number"),
    "a glob that hits nothing": (
        ["method.targets=[nowhere]"],
        "method.targets: the glob 'nowhere' matches nothing",
    ),
    "images for a language model": (
        ["model=llama_9m", "data=digits"],
        "data=digits and model=llama_9m may not go together",
    ),
    "a file for a folder": (["--out", __file__], "is a file; name a folder"),
    "no folder to check": (["--check"], "--check: names no folder"),
    "a folder that is not there": (["--check", "/nowhere"], "--check=/nowhere: there is no such"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_two(
    capsys: pytest.CaptureFixture[str], what: str
) -> None:
    arguments, line = MISTAKES[what]
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("lowrank-plan: ") and err.count("\n") == 1
    assert line in err
