"""What a person sees while runs go by, and the count of how they ended."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from lowrank_bench.identity import Identity
from lowrank_bench.record import RunRecord

COLOURS = {"finished": "green", "diverged": "yellow", "interrupted": "yellow", "reused": "cyan"}


class Tally:
    """One line of progress for all runs of a command; on a pipe, one line a finished run.

    The line is redrawn only when the waiting parent asks for it: a thread of its own would be
    copied, half asleep, into every forked run.
    """

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.total = 0
        self._is_promised = False
        self.ends: Counter[str] = Counter()
        self._done = 0
        self._share = 0.0  # of the current run
        self._trained = 0
        self._began: float | None = None
        self._live: Live | None = None

    def say(self, line: str) -> None:
        self.console.print(Text(line))

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """A word on what is going on, gone when it is over."""
        if not self.console.is_terminal:
            yield
            return
        self.console.print(Text(f"{what} …", style="dim"), end="\r")
        try:
            yield
        finally:
            self.console.print(" " * (len(what) + 2), end="\r")

    def promise(self, total: int) -> None:
        """There will be `total` runs in all, which are planned in rounds."""
        self.total, self._is_promised = total, True

    def expect(self, total: int) -> None:
        """There will be `total` more distinct runs, unless they were promised already."""
        if not self._is_promised:
            self.total += total

    def announce(self, jobs: int, total: int, reused: int) -> None:
        """Say what is to be done for `jobs` points of a grid, which are `total` runs."""
        same = f" ({jobs} points of the grid, the same run counted once)" if jobs != total else ""
        if total > 1:
            self.say(f"{total} runs{same}, {reused} of them finished before")

    def hear(self, share: float) -> None:
        """A run tells the share of its updates that are done."""
        self._share = share

    def show(self, identity: Identity) -> None:
        """Redraw the line."""
        self._began = self._began or monotonic()
        if self.total < 2 or not self.console.is_terminal:
            return
        if self._live is None:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        line = f"{self._done}/{self.total}  {identity.label}  {self._share:4.0%}  {self._left()}"
        self._live.update(Text(line, style="bold"), refresh=True)

    def _left(self) -> str:
        """Time left, from the mean over what was trained; the current run counts in part."""
        trained = self._trained + self._share
        if self._began is None or trained < 0.02:
            return "time left unknown"
        seconds = (monotonic() - self._began) / trained * (self.total - self._done - self._share)
        return f"about {_duration(seconds)} left"

    def reused(self, record: RunRecord, *, was_there: bool = False) -> None:
        self._done += 1
        self.ends["reused"] += 1
        if self.total == 1 or not was_there:  # a long list of what was there before says nothing
            self._line(record, "reused", "")

    def ended(self, record: RunRecord, folder: Path) -> None:
        self._done += 1
        self._trained += 1
        self._share = 0.0
        self.ends[record.status] += 1
        seconds = record.cost["train_seconds"]
        self._line(record, record.status, "" if seconds is None else _duration(seconds))
        if record.error is not None and record.status != "interrupted":
            first = (record.error["message"].splitlines() or [""])[0]
            self.say(f"    {record.error['type']}: {first}  ({folder})")

    def based(self, record: RunRecord) -> None:
        """A base has been trained, which is none of the command's own runs."""
        self._share = 0.0
        self._line(record, "base" if record.status == "finished" else record.status, "")

    def lost(self, identity: Identity, error: Exception) -> None:
        """A run that could not even be started or recorded: a full disk, say."""
        self._done += 1
        self.ends["failed"] += 1
        self.say(f"{identity.label}: failed: {type(error).__name__}: {error}")

    def _line(self, record: RunRecord, end: str, took: str) -> None:
        shown = _result(record.metrics["selected"])
        name = Identity(record.fingerprint, "", "", record.seed, record.name).label
        line = Text(f"[{self._done}/{max(self.total, self._done)}] {name:<32} ")
        line.append(f"{end:<11}", style=COLOURS.get(end, "red"))
        line.append(f" {shown:<13} {took}")
        self.console.print(line)

    def close(self) -> int:
        """End the display, say how all went, and return the command's exit code."""
        if self._live is not None:
            self._live.stop()
        if self.total > 1:
            parts = [f"{count} {end}" for end, count in sorted(self.ends.items())]
            self.say(f"{self._done} of {self.total} runs: {', '.join(parts)}")
        return 1 if self.ends["failed"] + self.ends["oom"] else 0


def _result(metrics: dict[str, Any]) -> str:
    """Perplexity of a language model, else accuracy: of test data, else of validation data."""
    for name, form in (("perplexity", "{} ppl {:.4g}"), ("accuracy", "{} {:.2%}")):
        for part in ("test", "val"):
            if (value := metrics.get(f"{part}_{name}")) is not None:
                return form.format(part, value)
    return ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
