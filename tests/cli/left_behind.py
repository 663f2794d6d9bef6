"""What commands leave: records, and processes that they should not have left."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARK = "LOWRANK_BENCH_TEST"  # an environment variable, inherited by all that a command starts


def records(root: Path) -> list[dict[str, Any]]:
    """The records below `root`, by the names of their folders."""
    return [json.loads(path.read_text()) for path in sorted(root.glob("*/record.json"))]


def contents(root: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of change of every record below `root`."""
    return {
        path.parent.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.glob("*/record.json")
    }


def marked() -> set[int]:
    """The processes that descend from this one and its tests; zombies are not among them."""
    wanted = f"{MARK}={os.getpid()}".encode()
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                variables = Path("/proc", entry, "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if wanted in variables:
                found.add(int(entry))
    return found


def wait_until(holds: Callable[[], Any], seconds: float, what: str) -> None:
    """Poll until `holds()`; fail with `what` when it takes too long."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.05)
