"""The most memory that training held at once."""

import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.autograd.profiler import profile


@contextmanager
def allocations() -> Iterator[Callable[[], int]]:
    """Look at the allocator of the CPU; yields what, afterwards, tells the largest growth in bytes.

    It is the maximum over time of what was allocated less what was freed since the beginning, as
    torch's profiler sees it: with the temporary memory inside of operations, and without what
    lived before. What lived before and is freed meanwhile goes unseen, so it counts on.
    """
    # The profiler's own remarks on devices and stages go to the terminal from its first severity
    # below this one on; it reads the variable when it starts.
    os.environ.setdefault("KINETO_LOG_LEVEL", "10")
    peak = 0
    profiler: Any = profile(profile_memory=True)
    with profiler:
        yield lambda: peak
    events = [
        (event.start_ns(), event.nbytes())
        for event in profiler.kineto_results.events()
        if event.name() == "[memory]" and event.device_type().name == "CPU"
    ]
    now = 0
    for _, size in sorted(events, key=lambda event: event[0]):
        now += size
        peak = max(peak, now)


class DevicePeak:
    """Peaks of a GPU's allocator over stretches of training, what lies between them left out."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.allocated = self.reserved = 0
        self._is_open = False

    def open(self) -> None:
        """Training goes on."""
        torch.cuda.reset_peak_memory_stats(self.device)
        self._is_open = True

    def close(self) -> None:
        """Something else begins: an evaluation, a receipt."""
        if self._is_open:
            self.allocated = max(self.allocated, torch.cuda.max_memory_allocated(self.device))
            self.reserved = max(self.reserved, torch.cuda.max_memory_reserved(self.device))
            self._is_open = False


def resident_peak_bytes() -> int:
    """The largest resident set of this process so far, with libraries, data and evaluation."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, KiB elsewhere
