"""What the README tells a newcomer to type, typed."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lowrank_bench.config_dir import config_dir

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    line
    for language, block in BLOCKS
    if language == "console" and "$ " not in block
    for line in block.strip().splitlines()
]
BENCH = [line for line in COMMANDS if re.match(r"lowrank-bench|python -m lowrank_bench", line)]
PLAN = [line for line in COMMANDS if line.startswith("lowrank-plan")]
COMMITTED = [line for line in COMMANDS if line.startswith("lowrank-report docs/")]
SHORT = ("epochs=1", "logger=local")  # the last of two equal keys wins


def _written(language: str) -> str:
    return next(block for kind, block in BLOCKS if kind == language)


def test_every_command_of_the_readme_is_known_to_a_test_or_to_ci():
    ours = {"make bench", "make test", "lowrank-report runs"}
    assert set(COMMANDS) - {*BENCH, *PLAN, *COMMITTED} == ours
    assert len(BENCH) >= 5


@pytest.mark.slow
def test_the_commands_run_and_their_runs_can_be_reported(bench, here, env):
    (here / "my_inits.py").write_text(_written("python"))
    folder = here / "my_configs" / "method" / "init"
    folder.mkdir(parents=True)
    (folder / "small.yaml").write_text(_written("yaml"))
    for line in BENCH:
        words = [word for word in shlex.split(line) if word not in ("python", "lowrank-bench")]
        if words[:2] == ["-m", "lowrank_bench"]:
            words = words[2:]
        if "data=fashion_mnist" in words and not Path("/usr/share/datasets/fashion-mnist").exists():
            pytest.skip("Fashion-MNIST is not on this machine: apt install dataset-fashion-mnist")
        outcome = bench(*words, *SHORT)
        assert outcome.code == 0, (line, outcome.err)
    report = subprocess.run(
        [sys.executable, "-m", "lowrank_bench.report", "runs"],
        cwd=here,
        env=env,
        capture_output=True,
        text=True,
    )
    assert report.returncode == 0, report.stderr
    assert "small" in report.stdout
    for line in PLAN:
        planned = subprocess.run(
            [sys.executable, "-m", "lowrank_bench.plan.cli", *shlex.split(line)[1:]],
            cwd=here,
            env=env,
            capture_output=True,
            text=True,
        )
        assert planned.returncode == 0, (line, planned.stderr)
    assert (here / "reports" / "runs" / "index.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMITTED)
def test_a_committed_study_is_drawn_again(line, env, tmp_path):
    drawn = subprocess.run(
        [
            sys.executable,
            "-m",
            "lowrank_bench.report",
            *line.split()[1:],
            "--out",
            tmp_path / "out",
        ],
        cwd=Path(__file__).parents[2],
        env=env,
        capture_output=True,
        text=True,
    )
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "out" / "index.html").exists()


def test_the_lines_for_ones_own_loop_run():
    from torch import nn

    lines = [block for kind, block in BLOCKS if kind == "python"][1]
    names: dict[str, Any] = {"model": nn.Sequential(nn.Linear(16, 16))}
    exec(lines, names)
    assert type(names["model"][0]).__name__ == "SVDLinear"
    assert names["optimizer"].param_groups[0]["lr"] == 1e-3


def test_the_mistake_of_the_readme_is_answered_as_it_says(composing):
    (shown,) = [block for kind, block in BLOCKS if kind == "console" and "$ " in block]
    command, answer = shown.strip().splitlines()
    outcome = composing(*shlex.split(command)[2:])
    assert (outcome.code, outcome.err.strip()) == (2, answer)


def test_every_recipe_stands_in_the_readme_and_is_counted():
    recipes = {path.stem for path in (config_dir() / "method").glob("*.yaml")}
    section = README.partition("## Methods")[2].partition("\n## ")[0]
    table = "\n".join(line for line in section.splitlines() if line.startswith("| "))
    assert set(re.findall(r"`(\w+)`", table)) == recipes
    counted = re.findall(r"all (\d+) recipes", README)
    assert counted and set(counted) == {str(len(recipes))}
