"""One run of a W&B sweep: what `wandb agent` starts for each point.

The agent names the run by its environment, and the logger takes that name over. It stops a run
by SIGTERM, and gives up a sweep in which several runs ended with a code above 0.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from lowrank_bench import cli
from lowrank_bench.build import build
from lowrank_bench.compose import composed
from lowrank_bench.dashboard.arguments import CONFIG_DIR, overrides_of
from lowrank_bench.identity import identify
from lowrank_bench.loggers.rows import read_rows
from lowrank_bench.session import SESSION
from lowrank_bench.store import Store

ROWS = "metrics.jsonl"


def run(words: Sequence[str]) -> int:
    """Train one run as `lowrank-bench` does, with W&B, and return its exit code.

    A run that was stopped does not return: it ends by SIGTERM, which the agent counts as no
    failure.

    Raises: ConfigError for a `--key` without a value.
    """
    overrides = overrides_of(words)
    if not any(word.startswith("logger=") for word in overrides):
        overrides.append("logger=wandb")
    sys.argv = ["lowrank-bench", *overrides]
    code = cli.main()
    if code == cli.INTERRUPTED:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    if SESSION.tally.ends["reused"] and os.environ.get("WANDB_SWEEP_ID"):
        _tell_again(overrides)
    return code


def _tell_again(overrides: Sequence[str]) -> None:
    """Log a run that was finished before: the sweep waits for its result all the same."""
    folder = next((w.removeprefix(CONFIG_DIR) for w in overrides if w.startswith(CONFIG_DIR)), None)
    cfg = composed([word for word in overrides if not word.startswith("--")], folder)
    identity = identify(cfg)
    store = Store(Path(cfg.run.dir))
    record = store.record(identity)
    if record is None or "_target_" not in (cfg.get("logger") or {}):
        return
    place = store.folder(identity)
    logger = build(cfg.logger, "logger")(record, place)
    if logger is None:  # logger=auto, without a key
        return
    for row in read_rows(place / ROWS):
        update = row.pop("update", None)
        logger.log_metrics({key: v for key, v in row.items() if v is not None}, step=update)
    logger.close(record)
