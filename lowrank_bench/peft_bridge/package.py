"""The import of PEFT, which is optional."""

import logging

from lowrank_bench.errors import ConfigError


def import_peft() -> None:
    """Import PEFT without the remarks of what it imports itself.

    Raises: ConfigError saying what to install where PEFT is missing.
    """
    chatter = logging.getLogger("bitsandbytes")  # on processors whose kernels it would download
    level = chatter.level
    chatter.setLevel(logging.ERROR)
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"method.adapter: peft cannot be imported ({error}); pip install 'lowrank-bench[peft]'"
        ) from None
    finally:
        chatter.setLevel(level)
