"""The page of benchmarks, from what its parts have left."""

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from benchmarks import PARTS
from benchmarks.many_records import grid, spread
from benchmarks.measure import interleaved, interval, ratios
from benchmarks.page import read, render, write

ROOT = Path(__file__).parents[2]

MACHINE = {
    "cpu": "Abacus 3",
    "cores": 2,
    "memory_gib": 8.0,
    "system": "Linux 6",
    "versions": {"torch": "2.15.0"},
    "load": 0.1,
}
PAIR = [{"ours": 0.9, "theirs": 1.0}, {"ours": 1.8, "theirs": 2.0}]
SERVED = [{"base": 0.01, "merged": 0.0101}, {"base": 0.02, "merged": 0.0202}]
THREADS = [
    {
        "full, 1 thread": 1.0,
        "full, 2 threads": 3.0,
        "lowrank rank=8, 1 thread": 1.0,
        "lowrank rank=8, 2 threads": 2.0,
    }
]
FOUND: dict[str, dict[str, Any]] = {
    "overhead": {
        "epochs": 2,
        "rounds": [
            {f"{what}: plain": 2.0, f"{what}: ours": ours}
            for what, ours in (("data path", 0.5), ("full", 2.2), ("lowrank rank=8", 3.0))
        ],
    },
    "methods": {"steps": 8, "device": "cpu", "packages": {"peft": "0"}, "rounds": {"LoRA": PAIR}},
    "serving": {
        "length": {"rounds": 2, "steps": 4, "device": "cpu"},
        "latency": {"1 × 16": SERVED},
        "switching": {
            "rounds": SERVED,
            "adapter_bytes": 1_257_752,
            "model_bytes": 51_669_192,
            "drift": 6.7e-7,
        },
        "mixed": {"2": SERVED},
    },
    "start_up": {
        "few": 4,
        "many": 12,
        "rounds": [
            {
                "import lightning": 6.0,
                "to the first step": 7.5,
                "the whole command": 8.0,
                "few": 10.0,
                "few: training": 1.0,
                "few: again": 1.0,
                "many": 17.0,
                "many: training": 3.0,
                "many: again": 2.0,
            }
        ],
    },
    "plan": {
        "lines": {"one plan": "model=llama_7b", "a table of 8": "-m model=llama_7b"},
        "rounds": [
            {
                "one plan": 4.0,
                "one plan: GiB": 0.5,
                "torch": 2.5,
                "a table of 8": 12.0,
                "a table of 8: GiB": 0.7,
            }
        ],
    },
    "reports": {
        "counts": [100, 1000],
        "epochs": 10,
        "rounds": [
            {
                "report 100": 2.0,
                "report 100: GiB": 0.2,
                "report 100: page MiB": 1.0,
                "report 1000": 30.0,
                "report 1000: GiB": 0.4,
                "report 1000: page MiB": 2.0,
                "scan 100": 0.02,
                "scan 1000": 0.2,
            }
        ],
    },
    "threads": {"images": 15_000, "processes": {"1": THREADS, "2": THREADS}},
    "founding": {
        "points": 17,
        "epochs": 1,
        "rounds": [
            {
                "a process a configuration": 200.0,
                "one command": 50.0,
                "the same command, twice at once": 20.0,
            }
        ],
    },
}
FOUND["overhead"]["rounds"] = [
    {name: s for each in FOUND["overhead"]["rounds"] for name, s in each.items()}
]


def stored(part: str, **changes: Any) -> dict[str, Any]:
    made = {"made": "2026-01-02T03:04:05+00:00", "quick": False, "seconds": 60.0}
    return made | {"machine": MACHINE, "found": FOUND[part]} | changes


def page(*parts: str, **changes: Any) -> str:
    return render({part: stored(part, **changes) for part in parts})


def test_the_page_has_a_section_of_every_part() -> None:
    assert set(FOUND) == set(PARTS)
    text = page(*PARTS)
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert headings == [what[0].upper() + what[1:] for what in PARTS.values()]
    assert "Not measured yet" not in text
    assert "2 cores of Abacus 3, 8.0 GiB, Linux 6; torch 2.15.0" in text


def test_ratios_are_medians_of_those_within_a_round_and_targets_are_plainly_met_or_not() -> None:
    rows = [line.split(" | ") for line in page(*FOUND).partition("## ")[0].splitlines()]
    verdicts = {row[0].removeprefix("| "): row[2:] for row in rows if len(row) == 4}
    assert verdicts["an epoch of data against torchvision's"] == ["4×", "yes |"]
    assert verdicts["a whole run, `full`, against a hand-written loop"] == ["1.10×", "yes |"]
    slow = verdicts["a whole run, `lowrank rank=8`, against a hand-written loop"]
    assert slow == ["1.50×", "**no** |"]
    assert verdicts["a step of LoRA against peft"] == ["0.90×", "yes |"]
    more = verdicts["one more short run in a sweep, beside its training"]
    assert more == ["0.62 s", "**no** |"]  # (17 - 10 - (3 - 1)) / 8
    assert verdicts["`lowrank-plan -m model=llama_7b`"] == ["12.0 s", "**no** |"]
    assert verdicts["growth of the report's time"] == ["1.50×", "**no** |"]
    assert verdicts["growth of the scan's time"] == ["1.00×", "yes |"]
    sweep = verdicts["the founding sweep on two cores, against a process a configuration"]
    assert sweep == ["10.0×", "yes |"]


def test_a_part_that_is_not_there_is_said_to_be_missing() -> None:
    text = page("plan")
    assert "Not measured yet: `python -m benchmarks founding`" in text
    assert "Not measured yet: `python -m benchmarks plan`" not in text


def test_a_quick_page_and_a_busy_machine_say_so() -> None:
    assert "numbers mean nothing" in page("plan", quick=True)
    assert "busy" in page("plan", machine=MACHINE | {"load": 1.9})
    plain = page("plan")
    assert "numbers mean nothing" not in plain
    assert "busy" not in plain


def test_a_part_measured_elsewhere_names_its_machine() -> None:
    other = stored("plan", machine=MACHINE | {"cpu": "Abacus 4"}, made="2025-01-01T00:00:00+00:00")
    text = render({"plan": other, "threads": stored("threads")})
    assert "*Made 2025-01-01 in 60 s on 2 cores of Abacus 4" in text
    assert "*Made 2026-01-02 in 60 s.*" in text


def test_what_a_part_found_is_kept_beside_the_others(tmp_path: Path) -> None:
    write(tmp_path / "data", "threads", stored("threads"))
    write(tmp_path / "data", "plan", stored("plan"))
    write(tmp_path / "data", "threads", stored("threads", seconds=1.0))
    kept = read(tmp_path / "data")
    assert list(kept) == ["plan", "threads"]
    assert kept["threads"]["seconds"] == 1.0
    assert kept["plan"]["found"] == FOUND["plan"]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "benchmarks", *words]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True)


def test_the_command_writes_the_page_anew_from_what_is_kept(tmp_path: Path) -> None:
    data = tmp_path / "data" / "benchmarks"
    data.mkdir(parents=True)
    (data / "plan.json").write_text(json.dumps(stored("plan")))
    done = run("--page", "--into", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "benchmarks.md").read_text() == page("plan")


@pytest.mark.parametrize(
    ("words", "told"), [(["speed"], "speed: must be one of overhead"), (["--quick"], "--into")]
)
def test_a_mistake_is_told_and_writes_nothing(words: list[str], told: str, tmp_path: Path) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert told in done.stderr


def test_every_arm_runs_once_a_round_in_changing_order() -> None:
    calls: list[str] = []
    arms = {name: lambda name=name: float(calls.append(name) or len(calls)) for name in "abc"}
    arms["d"] = lambda: {"d": 2.0, "d: more": 4.0}  # type: ignore[dict-item, return-value]
    rounds = interleaved(arms, 6, warm=False)
    assert [list(each) for each in rounds] == [["a", "b", "c", "d", "d: more"]] * 6
    orders = {"".join(calls[i : i + 3]) for i in range(0, 18, 3)}
    assert {"".join(sorted(order)) for order in orders} == {"abc"}
    assert len(orders) > 1
    assert ratios(rounds, "d: more", "d") == [2.0] * 6
    low, high = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert 1 <= low < 3 < high <= 5


def test_a_study_is_as_many_runs_of_one_control_as_the_page_says() -> None:
    points = list(islice(grid(), 5000))
    assert [point[0] for point in points] == [0] * 2500 + [1] * 2500
    assert len(set(points)) == 5000


def test_copies_of_a_run_are_runs_of_their_own(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    metrics = {"final": {"test_accuracy": 0.9}, "selected": {"test_accuracy": 0.9}}
    record = {"fingerprint": "x", "control_hash": "c", "method_hash": "m", "seed": 0}
    record |= {"name": {"method": "lora", "rank": 8}, "config": {"budget": {}}, "params": {}}
    (run / "record.json").write_text(json.dumps(record | {"metrics": metrics}))
    for name in ("curves.parquet", "metrics.jsonl", "config.yaml", "made_with.json"):
        (run / name).write_text(name)
    made = spread(run, tmp_path / "many", 40)
    assert len({each["fingerprint"] for each in made}) == 40
    assert len({(e["control_hash"], e["method_hash"], e["seed"]) for e in made}) == 40
    folders = list((tmp_path / "many").iterdir())
    assert len(folders) == 40
    assert json.loads((folders[0] / "record.json").read_text()) in made
