"""What one command does: plan its runs, train each in its own process, keep the tally."""

import atexit
import gc
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from lowrank_bench import environment
from lowrank_bench.build import build
from lowrank_bench.checks import check
from lowrank_bench.errors import ConfigError
from lowrank_bench.identity import Identity, identify
from lowrank_bench.isolate import Tell, isolated
from lowrank_bench.loggers.keys import SYNC, UNREACHABLE, notice
from lowrank_bench.record import RunRecord, write_atomically
from lowrank_bench.store import MADE_WITH, Store, why_stale
from lowrank_bench.tally import Tally


@dataclass(frozen=True, eq=False)
class Job:
    """A composed config and the overrides that made it."""

    cfg: DictConfig
    overrides: Sequence[str]

    @cached_property
    def identity(self) -> Identity:
        return identify(self.cfg)

    @cached_property
    def store(self) -> Store:
        return Store(Path(self.cfg.run.dir))

    @cached_property
    def data_checksum(self) -> str | None:
        """Of the data as it lies there now; read here, so that forked runs inherit it."""
        reader = self.cfg.data.get("reader")
        return None if reader is None else build(reader, "data.reader").checksum

    @cached_property
    def choices(self) -> dict[str, str | None]:
        """Config groups and what was chosen of them, Hydra's own aside."""
        choices = OmegaConf.to_container(self.cfg.hydra.runtime.choices)
        assert isinstance(choices, dict)
        return {str(k): v for k, v in choices.items() if not str(k).startswith("hydra/")}

    @property
    def made_with(self) -> str:
        """What a checkpoint must have been made with to be taken up."""
        stamp = {package: environment.versions()[package] for package in environment.DECISIVE}
        return json.dumps(stamp | {"data_checksum": self.data_checksum}, sort_keys=True)

    def new_record(self) -> RunRecord:
        """What is known of the run before it starts."""
        cfg, identity = self.cfg, self.identity
        config = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
        container = OmegaConf.to_container(config, resolve=True)
        assert isinstance(container, dict)
        return RunRecord(
            status="failed",
            fingerprint=identity.fingerprint,
            control_hash=identity.control_hash,
            method_hash=identity.method_hash,
            seed=identity.seed,
            name=identity.name,
            config={str(key): value for key, value in container.items()},
            choices=self.choices,
            overrides=list(self.overrides),
            env=environment.describe(num_devices=cfg.run.devices, threads=cfg.run.threads)
            | {"data_checksum": self.data_checksum},
        )


@dataclass
class Session:
    """The runs of this process. One command, one session."""

    tally: Tally = field(default_factory=Tally)
    deferred: list[Job] = field(default_factory=list)
    mistake: ConfigError | None = None  # kept here, since Hydra would print it its own way
    is_planned: bool = False

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
                self.tally.reused(record)
            else:
                pending.append(job)
        if pending:
            self._preflight(pending)
            for job in pending:
                job.store.open()
            if line := notice(pending[0].choices["logger"] or "local"):
                self.tally.say(line)
        self.tally.announce(len(jobs))
        self.is_planned = True
        return pending

    def _preflight(self, jobs: Sequence[Job]) -> None:
        """Build every job once, in a process that is thrown away, before the first trains."""
        complaints: list[str] = []
        with self.tally.busy("loading torch"):
            from lowrank_bench.rehearsal import try_all  # torch: once, inherited by every run

            gc.collect()
            gc.freeze()  # else the collector of each run copies all pages that it walks over
            atexit.register(gc.unfreeze)  # what is frozen counts as leaked at exit

            code = isolated(
                partial(try_all, [job.cfg for job in jobs]), on_message=complaints.append
            )
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
        if previous is not None and previous.is_result:
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
        is_alone = self.tally.total == 1
        try:
            code = isolated(
                partial(_run, job.cfg, record, folder, is_alone),
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
        self.tally.ended(left, folder)

    def _hear(self, message: Any) -> None:
        """A run tells its progress, or that W&B is away, which no later run should wait for."""
        if message == UNREACHABLE:
            os.environ["WANDB_MODE"] = "offline"
            self.tally.say(f"{UNREACHABLE}; {SYNC}")
        else:
            self.tally.hear(message)


def _stands(job: Job, record: RunRecord | None) -> bool:
    if record is None or not record.is_result:
        return False
    return why_stale(record, job.data_checksum) is None


def _run(cfg: DictConfig, record: RunRecord, folder: Path, alone: bool, tell: Tell) -> int:
    from lowrank_bench.run import run

    return run(cfg, record, folder, tell, alone=alone)


SESSION = Session()
