from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("lowrank_bench", "hydra_plugins", "tests", "benchmarks", "scripts")
LIMIT = 300


def files() -> list[str]:
    return sorted(str(p.relative_to(ROOT)) for f in FOLDERS for p in (ROOT / f).rglob("*.py"))


def test_there_is_something_to_measure() -> None:
    assert len(files()) > 50


@pytest.mark.parametrize("file", files())
def test_a_file_can_be_read_in_one_sitting(file: str) -> None:
    assert len((ROOT / file).read_text(encoding="utf-8").splitlines()) <= LIMIT
