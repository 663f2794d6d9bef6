"""Real text, tokenised once; and nothing of the hub."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig


@pytest.fixture(scope="session")
def tokens_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokens")


@pytest.fixture
def over_bytes(composed: Callable[..., DictConfig], tokens_folder: Path) -> Callable[..., Any]:
    """A config over Python's documentation, byte by byte, in short sequences."""
    text = ("data=python_docs", f"data.cache={tokens_folder}", "data.length=32", "rank=4")
    return lambda *overrides: composed(*text, "budget.batch_size=4", *overrides)
