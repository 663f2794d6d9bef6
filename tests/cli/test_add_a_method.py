"""What docs/add-a-method.md tells an author to write and type, written and typed."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "add-a-method.md").read_text(encoding="utf-8")
FILES = re.findall(r"`(mine/[\w/.]+)`:\n\n```\w+\n(.*?)```", PAGE, flags=re.DOTALL)
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"```console\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.strip().splitlines()
]
SHORT = ("epochs=1", "logger=local", "model.hidden=[16,16]")


@pytest.fixture
def mine(here: Path, env: dict[str, str]) -> Path:
    for path, text in FILES:
        (here / path).parent.mkdir(parents=True, exist_ok=True)
        (here / path).write_text(text, encoding="utf-8")
    env["PYTHONPATH"] = "mine"
    return here / "mine"


def test_the_page_writes_what_it_says() -> None:
    assert [Path(path).name for path, _ in FILES] == [
        "pissa_dora.yaml",
        "column_scale.py",
        "column_scale.yaml",
        "no_scale.yaml",
        "column_scale.yaml",
        "test_column_scale.py",
    ]
    assert {words[0] for words in COMMANDS} == {"lowrank-bench", "python"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [words for words in COMMANDS if words[0] == "lowrank-bench"],
    ids=lambda words: " ".join(words[1:])[:50],
)
def test_every_command_of_the_page_runs(bench, mine, here, command) -> None:
    outcome = bench(*command[1:], *SHORT)
    assert outcome.code == 0, outcome.err
    assert list(here.glob("runs/*/record.json"))


@pytest.mark.slow
def test_the_authors_own_test_passes_and_can_fail(mine, here, env) -> None:
    (command,) = [words for words in COMMANDS if words[0] == "python"]

    def run() -> subprocess.CompletedProcess[str]:
        line = [sys.executable, *command[1:], "-p", "no:cacheprovider"]
        return subprocess.run(line, cwd=here, env=env, capture_output=True, text=True)

    assert (passed := run()).returncode == 0, passed.stdout
    source = (mine / "column_scale.py").read_text(encoding="utf-8")
    (mine / "column_scale.py").write_text(
        source.replace("self.base.weight * (1 + self.c)", "self.base.weight * (1 + 2 * self.c)")
    )
    failed = run()
    assert failed.returncode == 1
    assert "forward_equals_effective_weight" in failed.stdout
