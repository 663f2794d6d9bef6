"""Commands run as a person runs them: in an empty folder, without W&B, without a network."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_server import Command, CommandServer, Outcome
from left_behind import MARK, marked

NOWHERE = "http://127.0.0.1:9"  # refuses at once
STRIKES = Path(__file__).parent / "strikes"  # a user's own YAML and Python

Bench = Callable[..., Outcome]
Start = Callable[..., Command]


def bare() -> dict[str, str]:
    """Our environment without W&B's keys, with the mark of what we start."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "NETRC"))}
    return {**kept, "OMP_NUM_THREADS": "1", MARK: str(os.getpid())}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The working directory of the commands, empty."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The environment of the commands; a test may add to it."""
    (tmp_path / "home").mkdir()
    return {
        **bare(),
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NOWHERE),
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(tmp_path / "home" / "cache"),
        "PYTHONPATH": str(STRIKES),
        "WANDB_ERROR_REPORTING": "false",
    }


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[str, CommandServer]]:
    """Those that were needed so far."""
    found: dict[str, CommandServer] = {}
    yield found
    for server in found.values():
        server.close()


@pytest.fixture
def alive(servers: dict[str, CommandServer]) -> Iterator[Callable[[], set[int]]]:
    """The processes of this test's commands; none may outlive it."""
    if not Path("/proc/self/environ").exists():
        pytest.skip("no /proc here")

    def ours() -> set[int]:
        return marked() - {server.pid for server in servers.values()}

    yield ours
    for pid in ours():
        os.kill(pid, 9)


@pytest.fixture
def composing(
    servers: dict[str, CommandServer], here: Path, env: dict[str, str], tmp_path: Path
) -> Bench:
    """Run a command that ends before torch is needed."""
    if "light" not in servers:
        servers["light"] = CommandServer(with_torch=False, env=bare())
    server = servers["light"]
    return lambda *words: server.start(words, cwd=here, env=env, scratch=tmp_path).wait()


@pytest.fixture
def start(
    servers: dict[str, CommandServer], here: Path, env: dict[str, str], tmp_path: Path
) -> Start:
    """Start a command that trains."""
    if "torch" not in servers:
        servers["torch"] = CommandServer(with_torch=True, env=bare())
    server = servers["torch"]
    return lambda *words: server.start(words, cwd=here, env=env, scratch=tmp_path)


@pytest.fixture
def bench(start: Start) -> Bench:
    """Run a command that trains to its end."""
    return lambda *words: start(*words).wait()


@pytest.fixture
def fresh(here: Path, env: dict[str, str]) -> Bench:
    """Run a program from its very start."""

    def run(*words: str, program: tuple[str, ...] = ("-m", "lowrank_bench")) -> Outcome:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = subprocess.run(
            [*((sys.executable,) if program[0].startswith("-") else ()), *program, *words],
            cwd=here,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        return Outcome(ended.returncode, ended.stdout, ended.stderr, seconds)

    return run
