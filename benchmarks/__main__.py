"""`python -m benchmarks [PART ...]`: measure, keep what was found, write the page."""

import argparse
import subprocess
import sys
from datetime import datetime
from importlib import import_module
from pathlib import Path
from time import perf_counter

from benchmarks import PARTS, page
from benchmarks.measure import machine
from lowrank_bench.record import write_atomically

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="What the bench itself costs; writes docs/benchmarks.md.",
        epilog="; ".join(f"{name}: {what}" for name, what in PARTS.items()),
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (all)")
    parser.add_argument("--quick", action="store_true", help="seconds; the numbers mean nothing")
    parser.add_argument("--into", type=Path, help="another folder than docs")
    parser.add_argument("--page", action="store_true", help="measure nothing, write the page anew")
    given = parser.parse_args()
    if unknown := [part for part in given.parts if part not in PARTS]:
        parser.error(f"{unknown[0]}: must be one of {', '.join(PARTS)}")
    if given.quick and given.into is None:
        parser.error(
            "--quick: its numbers mean nothing and must not go to docs; name a folder by --into"
        )
    into: Path = given.into or ROOT / "docs"
    data = into / "data" / "benchmarks"
    failed = []
    if len(given.parts) == 1 and not given.page:
        _measure(given.parts[0], data, quick=given.quick)
    elif not given.page:  # each in a process of its own: what one loads or breaks stays with it
        for part in given.parts or PARTS:
            print(f"{part}: {PARTS[part]}", flush=True)
            line = [sys.executable, "-m", "benchmarks", part, "--into", str(into.resolve())]
            if subprocess.run([*line, *(["--quick"] if given.quick else [])], cwd=ROOT).returncode:
                failed.append(part)
    write_atomically(into / "benchmarks.md", page.render(page.read(data)))
    for part in failed:
        print(f"{part}: could not be measured; the page has what there was before", file=sys.stderr)
    return 1 if failed else 0


def _measure(part: str, data: Path, *, quick: bool) -> None:
    here, started = machine(), perf_counter()
    found = import_module(f"benchmarks.{part}").measure(quick)
    made = datetime.now().astimezone().isoformat(timespec="seconds")
    seconds = round(perf_counter() - started, 1)
    page.write(
        data,
        part,
        {"made": made, "quick": quick, "seconds": seconds, "machine": here, "found": found},
    )


if __name__ == "__main__":
    sys.exit(main())
