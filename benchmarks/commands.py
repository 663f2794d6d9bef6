"""The commands as a person types them, in processes of their own, without W&B."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Ended(NamedTuple):
    seconds: float
    peak_bytes: int  # resident, at most


def start(line: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start `python LINE`, which may import this package too."""
    env = os.environ | {"WANDB_MODE": "disabled", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *line], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env
    )


def end(process: subprocess.Popen[bytes]) -> int:
    """Wait for a command; the most memory that it took, in bytes.

    Raises: RuntimeError with all that it printed, when it failed.
    """
    assert process.stdout is not None
    printed = process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{process.args}: {printed.decode(errors='replace')}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def finish(line: Sequence[str]) -> Ended:
    started = monotonic()
    peak = end(start(line))
    return Ended(monotonic() - started, peak)


def bench(*words: str) -> list[str]:
    return ["-m", "lowrank_bench", "logger=local", *words]
