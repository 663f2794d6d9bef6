"""Runs `lowrank-bench` many times from one process that has done the imports already.

Each command is a forked child with its own arguments, working directory, environment and
output: what a fresh process does, without the ten seconds that it takes to import torch.
"""

import gc
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIGHT, HEAVY = ("lowrank_bench.cli",), ("lowrank_bench.run", "peft")


@dataclass(frozen=True)
class Outcome:
    """What a command left behind; the code is that of subprocess, negative for a signal."""

    code: int
    out: str
    err: str
    cpu_seconds: float | None = None  # of a fresh process: the same on a busy machine


@dataclass(frozen=True)
class Command:
    """A command under way."""

    server: "CommandServer"
    pid: int
    scratch: Path

    def is_running(self) -> bool:
        return self.server.ask({"wait": self.pid, "seconds": 0}) is None

    def wait(self, seconds: float = 1200) -> Outcome:
        """Its end; fails when it does not come in time."""
        code = self.server.ask({"wait": self.pid, "seconds": seconds})
        assert code is not None, f"no end within {seconds} s"
        out, err = (Path(self.scratch, f"{name}-{self.pid}") for name in ("out", "err"))
        return Outcome(code, out.read_text(), err.read_text())

    def send(self, number: int) -> None:
        os.kill(self.pid, number)


class CommandServer:
    """The process; `with_torch` chooses how much it imports before the first command."""

    def __init__(self, *, with_torch: bool, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, *(HEAVY if with_torch else LIGHT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(env),
        )
        self.pid = self._process.pid

    def start(
        self, words: Sequence[str], *, cwd: Path, env: Mapping[str, str], scratch: Path
    ) -> Command:
        """Start a command in `cwd`; `scratch` takes what it prints."""
        asked = {"words": list(words), "cwd": str(cwd), "env": dict(env), "scratch": str(scratch)}
        return Command(self, self.ask(asked), scratch)

    def ask(self, question: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=60)


def _serve() -> None:
    for module in sys.argv[1:]:
        __import__(module)
    gc.collect()
    gc.freeze()  # else a child's collector copies every page of torch that it walks over
    codes: dict[int, int] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            print(json.dumps(_wait(asked["wait"], asked["seconds"], codes)), flush=True)
            continue
        child = os.fork()
        if child == 0:
            _become(asked)
        print(child, flush=True)


def _wait(pid: int, seconds: float, codes: dict[int, int]) -> int | None:
    deadline = time.monotonic() + seconds
    while pid not in codes:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            codes[pid] = os.waitstatus_to_exitcode(status)
        elif time.monotonic() >= deadline:
            return None
        else:
            time.sleep(0.02)
    return codes[pid]


def _become(asked: dict[str, Any]) -> None:
    streams = {"out": sys.stdout, "err": sys.stderr}
    for name, stream in streams.items():
        path = Path(asked["scratch"], f"{name}-{os.getpid()}")
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, stream.fileno())
        os.close(file)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    sys.argv = ["lowrank-bench", *asked["words"]]
    sys.path[0] = asked["cwd"]  # as `python -m` has it
    if extra := asked["env"].get("PYTHONPATH"):
        sys.path.insert(1, extra)

    from lowrank_bench.cli import main

    code: Any = 1
    try:
        code = main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    for stream in streams.values():
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve()
