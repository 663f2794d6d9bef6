"""Run a function in child processes, so that nothing of one run is left for the next.

A child is forked from a parent that has imported torch but never computed: it starts in
milliseconds, inherits the data already read, and takes its threads, random state, process
groups and leaks with it when it ends. Several children are the ranks of one distributed run
and get torchrun's environment.
"""

import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

Tell = Callable[[Any], None]  # sends a message to the parent
Work = Callable[[Tell], int]  # returns an exit code


def isolated(
    work: Work,
    *,
    ranks: int = 1,
    log: Path | None = None,
    on_message: Callable[[Any], None] = lambda message: None,
    on_wait: Callable[[], None] = lambda: None,
) -> int:
    """Run `work` in `ranks` children and return the first exit code that is not 0.

    `log` takes what the children print; without it they share the terminal. `on_message` is
    called for what they tell, `on_wait` a few times a second. Ctrl-C is passed on to the
    children, which may still save what they have; it is raised here when they have ended. A
    child whose parent dies ends at once.
    """
    context = multiprocessing.get_context("fork")
    ours: list[Connection] = []
    children = []
    rendezvous = _free_port() if ranks > 1 else None
    for rank in range(ranks):
        mine, theirs = context.Pipe()
        ours.append(mine)
        environment = {} if rendezvous is None else _torchrun(rank, ranks, rendezvous)
        child = context.Process(target=_child, args=(work, theirs, ours, environment, log))
        child.start()
        theirs.close()
        children.append(child)
    was_interrupted = _wait(children, list(ours), on_message, on_wait)
    for connection in ours:
        connection.close()
    if was_interrupted:
        raise KeyboardInterrupt
    return next((child.exitcode for child in children if child.exitcode), 0)


def _wait(
    children: Sequence[Any],
    connections: list[Connection],
    on_message: Callable[[Any], None],
    on_wait: Callable[[], None],
) -> bool:
    """Wait until all children have ended; whether Ctrl-C was pressed meanwhile."""
    was_interrupted = False
    while alive := [child for child in children if child.is_alive()]:
        try:
            for ready in wait([*connections, *(c.sentinel for c in alive)], timeout=0.25):
                if isinstance(ready, Connection):
                    try:
                        on_message(ready.recv())
                    except EOFError:
                        connections.remove(ready)
            on_wait()
            if any(child.exitcode for child in children):  # one rank lost is all lost
                for child in alive:
                    child.kill()
        except KeyboardInterrupt:
            for child in alive:
                # The second time is meant: whoever presses again does not want to wait.
                child.kill() if was_interrupted else os.kill(child.pid, signal.SIGINT)
            was_interrupted = True
    for connection in connections:
        while connection.poll():
            try:
                on_message(connection.recv())
            except EOFError:
                break
    return was_interrupted


def _child(
    work: Work,
    parent: Connection,
    not_mine: list[Connection],
    environment: dict[str, str],
    log: Path | None,
) -> None:
    os.setpgid(0, 0)  # Ctrl-C at the terminal goes to the parent, which passes it on once
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for connection in not_mine:
        connection.close()
    os.environ.update(environment)
    if log is not None:
        with open(log, "ab", buffering=0) as file:
            os.dup2(file.fileno(), sys.stdout.fileno())
            os.dup2(file.fileno(), sys.stderr.fileno())
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()

    def tell(message: Any) -> None:
        with suppress(OSError):  # the parent has gone, and this process goes with it
            parent.send(message)

    sys.exit(work(tell))


def _end_with(parent: Connection) -> None:
    """The parent never speaks; its silence ends when it dies."""
    try:
        parent.recv()
    except (EOFError, OSError):
        os._exit(1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _torchrun(rank: int, world_size: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": f"lowrank-bench-{port}",
    }
