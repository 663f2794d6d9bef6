"""transformers' errors as one line, and without its bars and remarks."""

import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

from lowrank_bench.errors import ConfigError


@contextmanager
def one_line(model: str, key: str = "model.path") -> Iterator[None]:
    """Whatever is raised becomes a ConfigError that names `model`; nothing else is said."""
    try:
        with _quiet():
            yield
    except ConfigError:
        raise
    except Exception as error:  # each of its many models has its own
        line = " ".join(str(error).split())
        if "trust_remote_code" in line:
            line = (
                "comes with Python of its own, which is not run; "
                "read it, and say model.trust_remote_code=true if you trust it"
            )
        else:
            line = f"cannot be loaded: {line}"
        raise ConfigError(f"{key}={model}: {line}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    from huggingface_hub.utils import disable_progress_bars
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging as hf_logging

    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"  # else the hub is asked to convert
    disable_progress_bars()
    hf_logging.disable_progress_bar()
    levels = hf_logging.get_verbosity(), hub_logging.get_verbosity()
    hf_logging.set_verbosity(logging.CRITICAL)
    hub_logging.set_verbosity(logging.CRITICAL)
    try:
        with redirect_stderr(io.StringIO()):  # a bar of the GGUF reader that nothing turns off
            yield
    finally:
        hf_logging.set_verbosity(levels[0])
        hub_logging.set_verbosity(levels[1])
