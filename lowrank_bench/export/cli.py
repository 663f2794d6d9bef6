"""The command `lowrank-export RUN --to peft|merged|dense-delta OUT`."""

import argparse
import logging
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from lowrank_bench.errors import ConfigError

MISTAKE, INTERRUPTED = 2, 130
KINDS = {
    "peft": "an adapter for PeftModel.from_pretrained",
    "merged": "a plain model without any layer of the method, as safetensors",
    "dense-delta": "W - W0 of each tensor that changed, as safetensors",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0, or 2 after one line about what the user can mend, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="lowrank-export",
        description="What a finished run has trained, for use elsewhere.",
        epilog="; ".join(f"{name}: {what}" for name, what in KINDS.items()),
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder, with record.json")
    parser.add_argument("--to", required=True, choices=KINDS, help="what to write")
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to make; must not exist")
    given = parser.parse_args(arguments)
    if arguments is None:  # a command of its own, not a call from somebody's process
        signal.signal(signal.SIGTERM, _terminated)
    try:
        from lowrank_bench.export.export import export  # torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks of the libraries that read and write
            logging.disable(logging.WARNING)
            done = export(given.run, given.to, given.out)
    except ConfigError as error:
        print(f"lowrank-export: {' '.join(str(error).split())}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("lowrank-export: interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED
    finally:
        logging.disable(logging.NOTSET)
    print(done.what)
    print(f"outputs differ from the run's by at most {done.drift:.1g} of the largest")
    print(f"{done.num_bytes:,} bytes in {done.out}")
    return 0


def _terminated(number: int, frame: FrameType | None) -> None:
    """SIGTERM is what Ctrl-C is: take back, stop."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
