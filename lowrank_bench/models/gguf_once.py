"""GGUF files dequantised once, and then read as safetensors."""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from lowrank_bench.data import folders
from lowrank_bench.errors import ConfigError
from lowrank_bench.models.hf_origin import Origin
from lowrank_bench.models.hf_quiet import one_line


def dequantised(origin: Origin, revision: str | None, cache: str | None) -> Origin:
    """The folder of `origin`'s GGUF file as safetensors in float32, made where it is not there.

    transformers takes 20 seconds to read a GGUF file of 135 million parameters and one second
    for safetensors; each run of a sweep reads it. The folder, 4 bytes a parameter, is named
    after what the file holds and lies in `cache`, or below our own cache.
    Raises: ConfigError when the file cannot be read or the folder not be written.
    """
    from transformers import __version__

    file = _file(origin, revision)
    with open(file, "rb") as opened:
        content = hashlib.file_digest(opened, "sha256").hexdigest()
    key = hashlib.sha256(f"{content} {__version__}".encode()).hexdigest()[:16]
    root = folders.cache().with_name("gguf") if cache is None else Path(cache).expanduser()
    place = root.absolute() / key
    if not place.exists():
        try:
            (root / ".locks").mkdir(parents=True, exist_ok=True)
            with FileLock(root / ".locks" / f"{key}.lock"):
                if not place.exists():  # or whom we waited for has made it
                    _make(origin, file, place)
        except OSError as error:
            raise ConfigError(
                f"model.cache={cache or 'null'}: {root} cannot be written "
                f"({error.strerror or error})"
            ) from None
    return Origin(origin.given, str(place), None, is_local=True)


def _file(origin: Origin, revision: str | None) -> Path:
    assert origin.gguf is not None
    if origin.is_local:
        return Path(origin.name, origin.gguf)
    from huggingface_hub import hf_hub_download

    with one_line(origin.given):
        return Path(hf_hub_download(origin.name, origin.gguf, revision=revision))


def _make(origin: Origin, file: Path, place: Path) -> None:
    from transformers import AutoModelForCausalLM

    kind: Any = AutoModelForCausalLM
    with tempfile.TemporaryDirectory(prefix=".making-", dir=place.parent) as making:
        made = Path(making, "model")
        with one_line(origin.given):
            read, found = kind.from_pretrained(
                str(file.parent),
                gguf_file=str(file.absolute()),
                dtype=torch.float32,
                local_files_only=True,
                output_loading_info=True,
            )
            if missing := sorted(found["missing_keys"]):
                raise ConfigError(
                    f"model.path={origin.given}: has no weights for {missing[0]} "
                    f"({len(missing)} such in all)"
                )
            del read.config.quantization_config  # else it cannot be saved
            with torch.device("meta"):
                model = kind.from_config(read.config)
            model.load_state_dict(read.state_dict(), assign=True)
            model.tie_weights()
            model.save_pretrained(made)
        os.rename(made, place)  # it has its name when it is whole
