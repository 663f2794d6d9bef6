"""Runs `lowrank-bench` many times from one process that has done the imports already.

Each command is a forked child with its own arguments, working directory, environment and
output: what a fresh process would do, without the seconds a fresh process takes to import.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


class CommandServer:
    """The process; `with_torch` chooses how much it imports before the first command."""

    def __init__(self, *, with_torch: bool) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "lowrank_bench.run" if with_torch else "lowrank_bench.cli"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, words: list[str], *, cwd: Path, env: dict[str, str], scratch: Path) -> Outcome:
        """Run one command in `cwd`; `scratch` takes what it prints."""
        out, err = scratch / "out", scratch / "err"
        asked = {"words": words, "cwd": str(cwd), "env": env, "out": str(out), "err": str(err)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return Outcome(code, out.read_text(), err.read_text())

    def close(self) -> None:
        self._process.communicate(timeout=30)


def _serve() -> None:
    __import__(sys.argv[1])
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(asked: dict[str, Any]) -> None:
    for path, stream in ((asked["out"], sys.stdout), (asked["err"], sys.stderr)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, stream.fileno())
        os.close(file)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    sys.argv = ["lowrank-bench", *asked["words"]]
    sys.path[0] = asked["cwd"]

    from lowrank_bench.cli import main

    sys.exit(main())


if __name__ == "__main__":
    _serve()
