"""A method's hook that notes when the first update happens, by a clock all processes share."""

from pathlib import Path
from time import monotonic
from typing import Any


class FirstStep:
    """Writes the time at which the first gradients are there into a file."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def before_step(self, model: Any, optimizer: Any, update: int) -> None:
        if update == 0:
            self.path.write_text(repr(monotonic()), encoding="utf-8")
