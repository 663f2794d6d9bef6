"""What one command does: plan its runs, train each in its own process, keep the tally."""

import atexit
import gc
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from lowrank_bench.checks import check
from lowrank_bench.errors import BaseFailed, ConfigError
from lowrank_bench.isolate import Tell, isolated
from lowrank_bench.job import Job
from lowrank_bench.loggers.keys import SYNC, UNREACHABLE, notice
from lowrank_bench.record import BEST, LAST, RunRecord, write_atomically
from lowrank_bench.store import MADE_WITH, is_whole, why_stale
from lowrank_bench.tally import Tally


@dataclass
class Session:
    """The runs of this process. One command, one session."""

    tally: Tally = field(default_factory=Tally)
    deferred: list[Job] = field(default_factory=list)
    mistake: ConfigError | None = None  # kept here, since Hydra would print it its own way
    is_planned: bool = False
    _bases: dict[Path, RunRecord] = field(default_factory=dict)  # those seen to, by their place
    _rehearsed: set[tuple[str, str]] = field(default_factory=set)  # kinds of jobs that were built

    def plan(self, jobs: Sequence[Job]) -> list[Job]:
        """Check all jobs, report what is finished already, and return the rest, each once.

        Raises: ConfigError for a mistake in any of them; nothing has been written then.
        """
        distinct: dict[str, Job] = {}
        for job in jobs:
            check(job.cfg)
            distinct.setdefault(job.identity.fingerprint, job)
        self.tally.expect(len(distinct))
        pending = []
        for job in distinct.values():
            job.store.check_writable()
            record = job.store.record(job.identity)
            if _stands(job, record):
                assert record is not None
                self.tally.reused(record, was_there=True)
            else:
                pending.append(job)
        if pending:
            self._preflight(pending)
            for job in pending:
                job.store.open()
            if not self.is_planned and (line := notice(pending[0].choices["logger"] or "local")):
                self.tally.say(line)
        self.tally.announce(len(jobs), len(distinct), len(distinct) - len(pending))
        self.is_planned = True
        return pending

    def _preflight(self, jobs: Sequence[Job]) -> None:
        """Build every job once, in a process that is thrown away, before the first trains."""
        kinds = {kind: job for kind, job in _kinds(jobs).items() if kind not in self._rehearsed}
        if not kinds:  # a later round of a study
            return
        self._rehearsed |= set(kinds)
        complaints: list[str] = []
        with self.tally.busy("loading torch"):
            gc.disable()  # a collection walks all that is loaded, and leaves holes to be copied
            from lowrank_bench.rehearsal import try_all  # torch: once, inherited by every run

            gc.freeze()  # else the collector of each run copies all pages that it walks over
            gc.enable()
            atexit.register(gc.unfreeze)  # what is frozen counts as leaked at exit

            code = isolated(partial(try_all, [*kinds.values()]), on_message=complaints.append)
        if complaints:
            raise ConfigError(complaints[0])
        if code:
            raise RuntimeError(f"checking the runs ended with exit code {code}")

    def train(self, job: Job) -> None:
        """Train one job, unless it is finished or another process is at it."""
        if not self.is_planned and not self.plan([job]):
            return
        try:
            with job.store.lock(job.identity).acquire(blocking=False):
                self._train_locked(job)
        except Timeout:
            self.deferred.append(job)

    def train_deferred(self) -> None:
        """Take up what other processes were at: wait for each, train it if they did not."""
        for job in self.deferred:
            lock: FileLock = job.store.lock(job.identity)
            with (
                self.tally.busy(f"waiting for another process to train {job.identity.label}"),
                lock,
            ):
                pass
            with lock:
                self._train_locked(job)
        self.deferred.clear()

    def _train_locked(self, job: Job) -> None:
        previous = job.store.record(job.identity)
        if _stands(job, previous):
            assert previous is not None
            self.tally.reused(previous)
            return
        folder = job.store.folder(job.identity)
        try:
            base = None if job.base is None else self._with_base(job.base)
            left = self._train_here(job, previous, base, is_alone=self.tally.total == 1)
        except BaseFailed as error:
            left = job.new_record()
            left.error = {"type": type(error).__name__, "message": str(error)}
            folder.mkdir(parents=True, exist_ok=True)
            left.write(folder)
        self.tally.ended(left, folder)

    def _with_base(self, base: Job) -> Path:
        """The checkpoint of a base, trained by now; whoever comes first trains, others wait.

        Raises: BaseFailed when training it gave no weights to begin with. One that failed is
        not tried again in this session, one that diverged never is.
        """
        place = base.store.root / base.identity.fingerprint
        if place not in self._bases:
            base.store.open()
            lock, data = base.store.lock(base.identity), base.identity.name["data"]
            with self.tally.busy(f"waiting for another process to train the base on {data}"):
                lock.acquire()
            try:
                self._bases[place] = self._base_locked(base)
            finally:
                lock.release()
        record = self._bases[place]
        if record.status != "finished":
            told = (record.error or {}).get("message", "")
            folder = base.store.folder(base.identity)
            raise BaseFailed(
                f"the base on {base.identity.name['data']} {record.status}: {told} ({folder})"
            )
        return _weights_of(base)

    def _base_locked(self, base: Job) -> RunRecord:
        record, data = base.store.record(base.identity), base.identity.name["data"]
        if _stands(base, record):
            assert record is not None
            if record.status != "finished" or is_whole(_weights_of(base)):
                return record
            self.tally.say(f"the base on {data}: its checkpoint is gone or torn; trained afresh")
            base.store.supersede(base.identity)
            record = None
        self.tally.say(f"the base: {base.identity.label} on {data}, trained once for all")
        record = self._train_here(base, record, None, is_alone=False)
        self.tally.based(record)
        return record

    def _train_here(
        self, job: Job, previous: RunRecord | None, base: Path | None, *, is_alone: bool
    ) -> RunRecord:
        """Train a job whose lock is held, in a process of its own; return the record it left."""
        if previous is not None and _lacks_test(job, previous):
            self.tally.say(f"{job.identity.label}: was trained without its test data; asked now")
        elif previous is not None and previous.is_result:
            self.tally.say(
                f"{job.identity.label}: trained afresh, since its record was "
                f"{why_stale(previous, job.data_checksum)}"
            )
            job.store.supersede(job.identity)
        elif job.store.is_foreign(job.identity, job.made_with):
            self.tally.say(f"{job.identity.label}: begun on other data or versions; trained afresh")
            job.store.supersede(job.identity)
        folder = job.store.folder(job.identity)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / MADE_WITH, job.made_with)
        (folder / "record.json").unlink(missing_ok=True)  # of a try that gave no result
        record = job.new_record()
        write_atomically(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(record.config)))
        try:
            code = isolated(
                partial(_run, job.cfg, record, folder, is_alone, base),
                ranks=job.cfg.run.devices,
                log=None if is_alone else folder / "run.log",
                on_message=self._hear,
                on_wait=partial(self.tally.show, job.identity),
            )
        except KeyboardInterrupt:
            self.tally.ends["interrupted"] += 1
            record.status = "interrupted"  # for a run that was not given the time to say so
            raise
        finally:
            # Whatever happened, there is a record: the run's own, or else one written for it.
            left = job.store.record(job.identity)
            if left is None:
                record.error = {"type": "Killed", "message": "the process ended without a word"}
                record.write(folder)
        left = job.store.record(job.identity)
        assert left is not None
        if code < 0 and left.error and left.error["type"] == "Killed":
            left.error["message"] = f"the process was ended by signal {-code}"
            left.write(folder)
        return left

    def _hear(self, message: Any) -> None:
        """A run tells its progress, or that W&B is away, which no later run should wait for."""
        if message == UNREACHABLE:
            os.environ["WANDB_MODE"] = "offline"
            self.tally.say(f"{UNREACHABLE}; {SYNC}")
        else:
            self.tally.hear(message)


def _weights_of(base: Job) -> Path:
    """The checkpoint that the base's own budget selects."""
    own = LAST if base.cfg.budget.selection == "last" else BEST
    return base.store.folder(base.identity) / own


def _stands(job: Job, record: RunRecord | None) -> bool:
    if record is None or not record.is_result or _lacks_test(job, record):
        return False
    return why_stale(record, job.data_checksum) is None


def _lacks_test(job: Job, record: RunRecord) -> bool:
    """Whether a good record only lacks the test, which is then made from its checkpoint."""
    was_tested = (record.config.get("run") or {}).get("test", True)
    is_good = record.status == "finished" and why_stale(record, job.data_checksum) is None
    return is_good and job.cfg.run.test and not was_tested


def _kinds(jobs: Sequence[Job]) -> dict[tuple[str, str], Job]:
    """One job for each control and method, since neither a seed nor a rate mends anything; bases
    first.
    """
    bases = [job.base for job in jobs if job.base is not None]
    return {(j.identity.control_hash, _but_for_the_rate(j.cfg)): j for j in [*bases, *jobs]}


def _but_for_the_rate(cfg: DictConfig) -> str:
    """The method's node as text, without the number that its optimizer multiplies by."""
    method: Any = OmegaConf.to_container(cfg.method, resolve=True)
    return json.dumps({**method, "optimizer": method["optimizer"] | {"lr": None}}, default=str)


def _run(
    cfg: DictConfig, record: RunRecord, folder: Path, alone: bool, base: Path | None, tell: Tell
) -> int:
    from lowrank_bench.run import run

    return run(cfg, record, folder, tell, alone=alone, base=base)


SESSION = Session()
