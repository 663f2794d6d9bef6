"""How a run ends: which status an error stands for."""

import errno
from types import FrameType

from lowrank_bench.errors import Diverged
from lowrank_bench.record import Status

EXIT_CODES = {"finished": 0, "diverged": 0, "interrupted": 130}  # a divergence is a result


class Interrupted(BaseException):
    """Ctrl-C in a run; no KeyboardInterrupt, which Lightning would turn into exit code 1."""


def interrupt(number: int, frame: FrameType | None) -> None:
    """A signal handler."""
    raise Interrupted(f"by signal {number}")


def status_of(error: BaseException) -> Status:
    """`diverged` and `oom` are told from failures: the first is a result, the second a limit."""
    if isinstance(error, Diverged):
        return "diverged"
    if isinstance(error, Interrupted | KeyboardInterrupt):
        return "interrupted"
    text = str(error)
    out_of_memory = "out of memory" in text or "can't allocate memory" in text
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and out_of_memory):
        return "oom"
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return "oom"
    return "failed"
