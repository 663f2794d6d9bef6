"""Where runs are kept: one folder a fingerprint, one writer at a time."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from filelock import FileLock

from lowrank_bench.environment import DECISIVE, versions
from lowrank_bench.errors import ConfigError
from lowrank_bench.identity import Identity
from lowrank_bench.record import FILE, RunRecord

MADE_WITH = "made_with.json"


@dataclass(frozen=True)
class Store:
    """The runs folder; folders are named for people and found by their fingerprint."""

    root: Path

    def check_writable(self) -> None:
        """Raise ConfigError when no run could be written here; writes nothing itself."""
        place = self.root.absolute()
        while not place.exists():
            place = place.parent
        if not place.is_dir():
            raise ConfigError(f"run.dir={self.root}: {place} is a file, not a folder")
        if not os.access(place, os.W_OK | os.X_OK):
            raise ConfigError(
                f"run.dir={self.root}: {place} cannot be written; name another folder"
            )

    def open(self) -> None:
        """Make the folder that runs go to. Raises ConfigError when it cannot be made."""
        try:
            (self.root / ".locks").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"run.dir={self.root}: cannot be written ({error.strerror})"
            ) from None

    def folder(self, identity: Identity) -> Path:
        """The folder of a run, whatever name it was first trained under."""
        own = self.root / f"{_safe(identity.label)}-{identity.fingerprint}"
        if own.exists() or not self.root.is_dir():
            return own
        return self.root / _by_fingerprint(self.root).get(identity.fingerprint, own.name)

    def record(self, identity: Identity) -> RunRecord | None:
        """What the run has left, if it has left a record that can be read."""
        path = self.folder(identity) / FILE
        try:
            return RunRecord.read(path)
        except (FileNotFoundError, ValueError):
            return None

    def lock(self, identity: Identity) -> FileLock:
        """The right to train a fingerprint; a process that dies gives it back by dying."""
        return FileLock(self.root / ".locks" / f"{identity.fingerprint}.lock")

    def is_foreign(self, identity: Identity, made_with: str) -> bool:
        """Whether an unfinished run was begun with something else than `made_with` says."""
        folder = self.folder(identity)
        if not folder.exists():
            return False
        stamp = folder / MADE_WITH
        return not stamp.exists() or stamp.read_text(encoding="utf-8") != made_with

    def supersede(self, identity: Identity) -> None:
        """Move a run aside that must be trained afresh; nothing finished is ever deleted."""
        folder = self.folder(identity)
        aside = self.root / ".superseded"
        aside.mkdir(exist_ok=True)
        numbers = (path.suffix[1:] for path in aside.glob(f"{folder.name}.*"))
        last = max((int(number) for number in numbers if number.isdigit()), default=0)
        folder.rename(aside / f"{folder.name}.{last + 1}")


_LISTED: dict[Path, tuple[int, dict[str, str]]] = {}  # {root: (written when, its folders)}
SETTLED_NS = 2_000_000_000  # coarser than the clock of any file system


def _by_fingerprint(root: Path) -> dict[str, str]:
    """Names of the folders of `root` by their fingerprints.

    A sweep asks for each of its runs, and would list all of them each time. A listing is kept for
    as long as the folder says that it was not written to; but none of a folder that was written
    just now, since what is written within one tick of its clock leaves the same time.
    """
    written = os.stat(root).st_mtime_ns
    kept = _LISTED.get(root.absolute())
    if kept is not None and kept[0] == written:
        return kept[1]
    folders = {name.rpartition("-")[2]: name for name in os.listdir(root)}
    if time.time_ns() - written > SETTLED_NS:
        _LISTED[root.absolute()] = (written, folders)
    return folders


def why_stale(record: RunRecord, data_checksum: str | None) -> str | None:
    """Why a result cannot stand for a run of today; None when it can."""
    recorded, today = record.env.get("versions", {}), versions()
    for package in DECISIVE:
        if recorded.get(package) != today[package]:
            return f"made by {package} {recorded.get(package)}, here is {today[package]}"
    if data_checksum is not None and record.env.get("data_checksum") != data_checksum:
        return "made on other data"
    return None


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint is there with every byte as it was written: it is a zip file, which
    has a checksum for each tensor. Reads all of it, and needs no torch.
    """
    try:
        with ZipFile(checkpoint) as archive:
            return archive.testzip() is None
    except (OSError, EOFError, RuntimeError, BadZipFile):  # RuntimeError: a flag that is none
        return False


def _safe(label: str) -> str:
    return "".join(c if c.isalnum() or c in "-_.+" else "_" for c in label)
