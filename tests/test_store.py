import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import Timeout

from lowrank_bench.environment import versions
from lowrank_bench.errors import ConfigError
from lowrank_bench.identity import Identity
from lowrank_bench.record import RunRecord
from lowrank_bench.store import Store, why_stale

NAME = {"method": "lora", "data": "toy", "model": "mlp", "base": "scratch", "rank": 8, "lr": 1e-3}


def identity(fingerprint: str = "f00dfeedf00dfeed", **name: Any) -> Identity:
    return Identity(fingerprint, "c0ffee", "badcab1e", 0, NAME | name)


def record(**changes: Any) -> RunRecord:
    env = {"versions": versions(), "data_checksum": "d0"}
    options: dict[str, Any] = {
        "status": "finished",
        "fingerprint": identity().fingerprint,
        "control_hash": "c0ffee",
        "method_hash": "badcab1e",
        "seed": 0,
        "name": NAME,
        "env": env,
    }
    return RunRecord(**(options | changes))


def trained(store: Store, who: Identity, **changes: Any) -> Path:
    folder = store.folder(who)
    folder.mkdir(parents=True)
    record(**changes).write(folder)
    (folder / "metrics.jsonl").write_text("{}\n")
    return folder


# Folders


def test_a_folder_is_named_for_people_and_ends_in_the_fingerprint(tmp_path: Path) -> None:
    folder = Store(tmp_path / "runs").folder(identity())
    assert folder == tmp_path / "runs" / "lora-r8-lr0.001-s0-f00dfeedf00dfeed"
    assert not (tmp_path / "runs").exists()  # asking makes nothing


def test_a_name_with_odd_characters_stays_one_folder(tmp_path: Path) -> None:
    folder = Store(tmp_path).folder(identity(method="../my method"))
    assert folder.parent == tmp_path
    assert folder.name == ".._my_method-r8-lr0.001-s0-f00dfeedf00dfeed"


def test_a_run_is_found_under_the_name_that_it_was_trained_under(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = trained(store, identity())
    trained(store, identity("0123456789abcdef", method="renamed"), seed=7)
    renamed = identity(method="renamed", lr=None)
    assert store.folder(renamed) == folder
    assert store.record(renamed) == record()


def test_another_fingerprint_is_another_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    trained(store, identity())
    assert store.record(identity("0123456789abcdef")) is None


def test_a_run_that_left_no_readable_record_left_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = trained(store, identity())
    (folder / "record.json").write_text('{"schema": 1, "sta')
    assert store.record(identity()) is None
    (folder / "record.json").unlink()
    assert store.record(identity()) is None


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    listed: list[Any] = []
    own = os.listdir
    monkeypatch.setattr(os, "listdir", lambda place: listed.append(place) or own(place))
    return listed


def test_the_folders_are_listed_once_for_many_runs_that_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    folder = trained(store, identity())
    os.utime(tmp_path, (1, 1))  # written long ago
    listed = counted(monkeypatch)
    for number in range(5):
        assert store.record(identity(f"{number:016x}")) is None
    assert store.folder(identity(method="renamed")) == folder
    assert len(listed) == 1


@pytest.mark.parametrize("written", ["long ago", "within the same tick of the clock"])
def test_a_folder_that_another_process_made_since_is_seen(tmp_path: Path, written: str) -> None:
    store, who = Store(tmp_path), identity(method="mine")
    before = 1 if written == "long ago" else time.time_ns()
    os.utime(tmp_path, ns=(before, before))
    assert not store.folder(who).exists()
    theirs = trained(store, identity(method="theirs"))
    if written != "long ago":
        os.utime(tmp_path, ns=(before, before))
    assert store.folder(who) == theirs


def test_a_folder_that_can_be_made_is_writable_and_is_not_made(tmp_path: Path) -> None:
    Store(tmp_path / "deep" / "er").check_writable()
    assert list(tmp_path.iterdir()) == []


def test_opening_makes_the_folder_and_leaves_an_open_one_alone(tmp_path: Path) -> None:
    store = Store(tmp_path / "deep" / "er")
    store.open()
    folder = trained(store, identity())
    store.open()
    assert (folder / "record.json").exists()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(ConfigError, match=r"run\.dir=.*runs: cannot be written"):
        Store(tmp_path / "runs").open()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(ConfigError, match=r"run\.dir=.*runs/mine: .*runs is a file"):
        Store(tmp_path / "runs" / "mine").check_writable()


def test_a_folder_without_leave_to_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(ConfigError, match=r"run\.dir=.*runs: .* cannot be written"):
        Store(tmp_path / "runs").check_writable()


# Superseding


def test_superseding_keeps_everything_every_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed in (1, 2, 3):
        trained(store, identity(), seed=seed)
        store.supersede(identity())
        assert store.record(identity()) is None
    kept = sorted((tmp_path / ".superseded").iterdir())
    assert [RunRecord.read(folder / "record.json").seed for folder in kept] == [1, 2, 3]
    assert all((folder / "metrics.jsonl").read_text() == "{}\n" for folder in kept)


def test_superseding_needs_no_earlier_ones_to_be_left(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed in (1, 2):
        trained(store, identity(), seed=seed)
        store.supersede(identity())
    first, second = sorted((tmp_path / ".superseded").iterdir())
    for file in first.iterdir():
        file.unlink()
    first.rmdir()  # by a tidy user
    trained(store, identity(), seed=3)
    store.supersede(identity())
    seeds = [RunRecord.read(p).seed for p in (tmp_path / ".superseded").glob("*/record.json")]
    assert second.exists()
    assert sorted(seeds) == [2, 3]


# Staleness


def test_a_result_of_today_stands() -> None:
    assert why_stale(record(), "d0") is None


def test_data_that_nobody_read_is_not_held_against_a_result() -> None:
    assert why_stale(record(), None) is None


@pytest.mark.parametrize("package", ["lowrank_bench", "torch"])
def test_a_result_of_another_version_says_which(package: str) -> None:
    env = {"versions": versions() | {package: "0.0.1"}, "data_checksum": "d0"}
    reason = why_stale(record(env=env), "d0")
    assert reason == f"made by {package} 0.0.1, here is {versions()[package]}"


@pytest.mark.parametrize("package", ["python", "numpy", "lightning", "hydra-core"])
def test_versions_that_decide_nothing_leave_a_result_standing(package: str) -> None:
    env = {"versions": versions() | {package: "0.0.1"}, "data_checksum": "d0"}
    assert why_stale(record(env=env), "d0") is None


def test_a_result_on_other_data_is_stale() -> None:
    assert why_stale(record(), "d1") == "made on other data"


def test_a_record_that_does_not_say_where_it_was_made_is_stale() -> None:
    assert why_stale(record(env={}), None) is not None


# Locks


def hold(root: Path, ready: Any) -> None:
    with Store(root).lock(identity()).acquire():
        ready.set()
        time.sleep(60)


# Python 3.12 and later warn of any fork where there are threads; this child computes nothing.
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_lock_excludes_a_second_process_until_the_first_is_dead(tmp_path: Path) -> None:
    Store(tmp_path).open()
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    first = context.Process(target=hold, args=(tmp_path, ready))
    first.start()
    try:
        assert ready.wait(30)
        lock = Store(tmp_path).lock(identity())
        with pytest.raises(Timeout):
            lock.acquire(blocking=False)
        with Store(tmp_path).lock(identity("0123456789abcdef")).acquire(blocking=False):
            pass  # another run is free
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        first.join(30)
        with lock.acquire(timeout=5):
            assert lock.is_locked
    finally:
        first.kill()
        first.join()
