"""Where and with what a run was made."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lowrank_bench import __version__

PACKAGES = ("torch", "torchvision", "lightning", "hydra-core", "omegaconf", "numpy", "peft")
# A record made by another version of these is not reused.
DECISIVE = ("lowrank_bench", "torch")


@cache
def versions() -> dict[str, str | None]:
    """Installed versions, read from package metadata without importing anything."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    found["lowrank_bench"] = __version__
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


@cache
def git_state() -> dict[str, Any]:
    """Commit of the checkout that this package runs from; null when it was installed."""
    here = Path(__file__).resolve().parent
    if not (here.parent / ".git").exists():
        return {"sha": None, "is_dirty": None}
    try:
        sha = _git(here, "rev-parse", "HEAD")
        return {"sha": sha, "is_dirty": bool(_git(here, "status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return {"sha": None, "is_dirty": None}


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()


def describe(*, num_devices: int, threads: int) -> dict[str, Any]:
    """The record's `env`, but for what only the run itself sees: its device and its data."""
    return {
        "versions": versions(),
        "git": git_state(),
        "device": None,
        "num_devices": num_devices,
        "threads": threads,
        "cpu_count": os.cpu_count(),
        "platform": platform.platform(),
    }
