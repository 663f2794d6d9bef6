"""Commands run as a person runs them: in an empty folder, without W&B, without a network."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_server import CommandServer, Outcome
from left_behind import MARK, alive

NOWHERE = "http://127.0.0.1:9"  # refuses at once
STRIKES = Path(__file__).parent / "strikes"  # a user's own YAML and Python

Bench = Callable[..., Outcome]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The working directory of the commands, empty."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


@pytest.fixture
def mark(tmp_path: Path) -> str:
    """What tells this test's processes from all others."""
    return str(tmp_path)


@pytest.fixture
def env(tmp_path: Path, mark: str) -> dict[str, str]:
    """The environment of the commands; a test may add to it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "NETRC"))}
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NOWHERE)
    (tmp_path / "home").mkdir()
    return {
        **kept,
        **proxies,
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(tmp_path / "home" / "cache"),
        "PYTHONPATH": str(STRIKES),
        "OMP_NUM_THREADS": "1",
        "WANDB_ERROR_REPORTING": "false",
        MARK: mark,
    }


@pytest.fixture(scope="session")
def light_server() -> Iterator[CommandServer]:
    server = CommandServer(with_torch=False)
    yield server
    server.close()


@pytest.fixture(scope="session")
def torch_server() -> Iterator[CommandServer]:
    server = CommandServer(with_torch=True)
    yield server
    server.close()


@pytest.fixture
def composing(
    light_server: CommandServer, here: Path, env: dict[str, str], tmp_path: Path
) -> Bench:
    """Run a command that ends before torch is needed."""
    return lambda *words: light_server.run(words, cwd=here, env=env, scratch=tmp_path)


@pytest.fixture
def bench(torch_server: CommandServer, here: Path, env: dict[str, str], tmp_path: Path) -> Bench:
    """Run a command to its end."""
    return lambda *words: torch_server.run(words, cwd=here, env=env, scratch=tmp_path)


@pytest.fixture
def start(
    here: Path, env: dict[str, str], mark: str
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a process of its own; whatever is left of it is killed when the test is over."""
    begun: list[subprocess.Popen[str]] = []

    def begin(*words: str, program: tuple[str, ...] = ("-m", "lowrank_bench")):
        process = subprocess.Popen(
            [sys.executable, *program, *words],
            cwd=here,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(process)
        return process

    yield begin
    for process in begun:
        process.kill()
        process.communicate()
    for pid in alive(mark):
        os.kill(pid, 9)
