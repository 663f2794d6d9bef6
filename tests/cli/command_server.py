"""Runs `lowrank-bench` many times from one process that has done the imports already.

Each command is a forked child with its own arguments, working directory, environment and
output: what a fresh process does, without the seconds that it takes to import.
"""

import gc
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
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

    def run(
        self, words: Sequence[str], *, cwd: Path, env: Mapping[str, str], scratch: Path
    ) -> Outcome:
        """Run one command in `cwd`; `scratch` takes what it prints."""
        asked = {"words": list(words), "cwd": str(cwd), "env": dict(env), "scratch": str(scratch)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return Outcome(code, (scratch / "out").read_text(), (scratch / "err").read_text())

    def close(self) -> None:
        self._process.communicate(timeout=60)


def _serve() -> None:
    __import__(sys.argv[1])
    gc.collect()
    gc.freeze()  # else a child's collector copies every page of torch that it walks over
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _answer(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _answer(asked: dict[str, Any]) -> None:
    streams = {"out": sys.stdout, "err": sys.stderr}
    for name, stream in streams.items():
        file = os.open(Path(asked["scratch"], name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, stream.fileno())
        os.close(file)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
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
        sys.excepthook(*sys.exc_info())
    for stream in streams.values():
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve()
