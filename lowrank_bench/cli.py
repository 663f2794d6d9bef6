"""The command line: Hydra composes, and a user's mistake becomes one line."""

import os
import signal
import sys
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from textwrap import fill
from types import FrameType

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lowrank_bench.checks import check_choices
from lowrank_bench.config_dir import check_folder, config_dir
from lowrank_bench.errors import ConfigError
from lowrank_bench.job import Job
from lowrank_bench.mistakes import in_one_line
from lowrank_bench.session import SESSION

MISTAKE, INTERRUPTED = 2, 130


@hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="train")
def _task(cfg: DictConfig) -> None:
    hydra_cfg = HydraConfig.get()
    job = Job(OmegaConf.create({**cfg, "hydra": hydra_cfg}), list(hydra_cfg.overrides.task))
    try:
        SESSION.train(job)
        if hydra_cfg.mode == RunMode.RUN:  # a sweep comes back to these at its end
            SESSION.train_deferred()
    except ConfigError as mistake:
        SESSION.mistake = mistake
    except Exception as error:  # Hydra would keep it to itself in a sweep
        SESSION.tally.lost(job.identity, error)


def main() -> int:
    """Entry point of `lowrank-bench`. Returns the exit code.

    0 when every run gave a result, 1 when one failed, 2 for a mistake in the config, 130 for
    Ctrl-C.
    """
    signal.signal(signal.SIGTERM, _terminated)
    # Hydra prints its own errors over several lines and exits with 1, unless it is asked to
    # raise them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Hydra's parser takes options before the overrides or after them, but not among them.
    sys.argv[1:] = sorted(sys.argv[1:], key=_is_override)
    arguments, _ = get_args_parser().parse_known_args()
    try:
        if arguments.config_dir is not None:
            check_folder(Path(arguments.config_dir))
        check_choices(arguments.overrides)
        if arguments.multirun:
            sys.argv = [_with_the_method(word) for word in sys.argv]
        if arguments.help:
            with redirect_stdout(StringIO()) as told, suppress(SystemExit):
                _task()
            print(*map(_folded, told.getvalue().splitlines()), sep="\n")
            return 0
        _task()
        if SESSION.mistake is not None:
            raise SESSION.mistake
    except (ConfigError, HydraException) as error:
        print(f"lowrank-bench: {in_one_line(error, arguments.overrides)}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        SESSION.tally.close()
        print("lowrank-bench: interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    return SESSION.tally.close()


def _with_the_method(word: str) -> str:
    """A key of the method as a sweep over its one value.

    Hydra applies what is not swept to the default method first, which need not have the key.
    """
    if not word.startswith("method."):
        return word
    try:
        (override,) = OverridesParser.create().parse_overrides([word])
    except HydraException:  # to be told by Hydra in its turn
        return word
    key, _, value = word.partition("=")
    return word if override.is_sweep_override() else f"{key}=choice({value})"


def _folded(line: str) -> str:
    return fill(line, 100, subsequent_indent=" " * 8) if len(line) > 100 else line


def _is_override(word: str) -> bool:
    return word.startswith("~") or ("=" in word and not word.startswith("-"))


def _terminated(number: int, frame: FrameType | None) -> None:
    """SIGTERM is what Ctrl-C is: save, record, stop."""
    raise KeyboardInterrupt
