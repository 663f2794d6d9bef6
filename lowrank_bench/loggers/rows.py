"""Reading a metrics file, and cutting it back on resume, without loading torch."""

import json
from pathlib import Path
from typing import Any

from lowrank_bench.record import write_atomically


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file, without torn lines; none when there is no file."""
    return [row for row, _ in _whole_lines(path)]


def cut_back(path: Path, update: int) -> None:
    """Drop, atomically, the rows after `update` and a torn line: a resumed run writes them anew."""
    if not path.exists():
        return
    kept = [line for row, line in _whole_lines(path) if (row.get("update") or 0) <= update]
    write_atomically(path, "".join(line + "\n" for line in kept))


def _whole_lines(path: Path) -> list[tuple[dict[str, Any], str]]:
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict):
            found.append((row, line))
    return found
