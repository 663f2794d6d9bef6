"""From text to tokens: bytes, or any tokenizer of Hugging Face."""

import hashlib
import json
import os
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lowrank_bench.errors import ConfigError
from lowrank_bench.package_path import PREFIX, located

BYTES = "bytes"
GGUF_HEAD = 2**26  # bytes; what a GGUF file says of its tokenizer stands before the weights
DESCRIBING = {".json", ".txt", ".model", ".tiktoken"}  # files of a folder that make a tokenizer


class Tokenizer(Protocol):
    """Tokens are 0 .. size-1; one of them, `end`, stands for the end of a document.

    `identity` may be had at no great cost; the rest loads what there is to load.
    """

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> str:
        """Equal where all texts give equal tokens."""
        ...

    @property
    def size(self) -> int: ...

    @property
    def end(self) -> int: ...

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The tokens (t,) of each text, without an end of the document."""
        ...


class ByteTokenizer:
    """UTF-8 bytes are their own tokens, 256 ends a document; `longest` cuts from the right."""

    name, size, end = BYTES, 257, 256

    def __init__(self, *, longest: int | None = None) -> None:
        self._longest = longest
        self.identity = f"{BYTES} {longest}"

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.frombuffer(text.encode(), np.uint8)[: self._longest] for text in texts]


class HFTokenizer:
    """A tokenizer that transformers loads: from a folder, a GGUF file or the hub.

    It is loaded when it is needed, since a GGUF file takes seconds and the tokens are mostly in
    the cache. Special tokens that stand in a text as they are written (`<|im_start|>`) become
    those tokens. With `longest`, the tokenizer also adds what its model wants around a text
    ([CLS], [SEP]), and cuts the text so that all fit into that many tokens.

    Raises: ConfigError when there is none such; when loaded, for one that cannot be, or has no
    token for the end of a text where it needs one.
    """

    def __init__(self, name: str, *, longest: int | None = None) -> None:
        self.name, self._longest = name, longest
        self._path = Path(located(name, key="data.tokenizer")).expanduser()
        self._is_gguf = self._path.suffix == ".gguf"
        if self._is_gguf and not self._path.is_file():
            raise ConfigError(f"data.tokenizer={name}: there is no such file")
        is_path = self._path.is_absolute() or name.startswith((".", "~", PREFIX))
        if is_path and not self._path.exists():
            raise ConfigError(f"data.tokenizer={name}: there is no such folder")

    @property
    def identity(self) -> str:
        """Of the files and the packages that read them; of the hub's, of what was loaded."""
        digest = hashlib.sha256(f"{_versions()} {self._longest};".encode())
        if self._is_gguf:
            with open(self._path, "rb") as file:
                digest.update(file.read(GGUF_HEAD))
        elif self._path.is_dir():
            for path in sorted(self._path.iterdir()):
                if path.suffix in DESCRIBING and path.is_file():
                    digest.update(f"{path.name};".encode() + path.read_bytes())
        else:
            backend = getattr(self._loaded, "backend_tokenizer", None)
            vocabulary = json.dumps(self._loaded.get_vocab(), sort_keys=True)
            digest.update((backend.to_str() if backend is not None else vocabulary).encode())
            digest.update(f"{type(self._loaded).__name__} {self._loaded.eos_token_id}".encode())
        return digest.hexdigest()[:16]

    @property
    def size(self) -> int:
        return max(self._loaded.get_vocab().values()) + 1  # its len() passes over gaps

    @property
    def end(self) -> int:
        if self._loaded.eos_token_id is None:
            raise ConfigError(
                f"data.tokenizer={self.name}: has no end-of-text token (eos_token) to put after a "
                "document"
            )
        return self._loaded.eos_token_id

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        options: dict[str, Any] = {"add_special_tokens": False}
        if self._longest is not None:
            options = {"truncation": True, "max_length": self._longest}
        # not verbose: it would warn of texts longer than its model's sequences, which we cut
        found = self._loaded(list(texts), return_attention_mask=False, verbose=False, **options)
        return [np.array(each, np.int64) for each in found["input_ids"]]

    @cached_property
    def _loaded(self) -> Any:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core, no threads before a fork
        try:
            from transformers import AutoTokenizer
        except ImportError:
            raise ConfigError(
                f"data.tokenizer={self.name}: needs transformers; pip install 'lowrank-bench[hf]'"
            ) from None
        options = {"gguf_file": self._path.name} if self._is_gguf else {}
        place = self._path.parent if self._is_gguf else self._path
        is_local = place.exists()
        try:
            return AutoTokenizer.from_pretrained(
                str(place) if is_local else self.name,
                trust_remote_code=False,
                local_files_only=is_local,
                **options,
            )
        except Exception as error:  # every tokenizer has its own
            where = "" if is_local else "there is no such folder, and from the hub it "
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ConfigError(
                f"data.tokenizer={self.name}: {where}cannot be loaded ({reason})"
            ) from None


def tokenizer_of(name: str, *, longest: int | None = None) -> Tokenizer:
    """The tokenizer that `data.tokenizer` names; `longest` is for texts that are one example.

    Raises: ConfigError when there is none such.
    """
    if not isinstance(name, str) or not name:
        raise ConfigError(
            f"data.tokenizer={name}: must be {BYTES}, a folder, a GGUF file or a name on the hub"
        )
    return ByteTokenizer(longest=longest) if name == BYTES else HFTokenizer(name, longest=longest)


def check_vocab_size(vocab_size: int | None, *, tokenizer: str, size: int) -> None:
    """Raise ConfigError for a `data.vocab_size` too small for the tokenizer; null is unknown."""
    if vocab_size is None:
        return
    is_whole = isinstance(vocab_size, int) and not isinstance(vocab_size, bool)
    if not is_whole or vocab_size < size:
        raise ConfigError(
            f"data.vocab_size={vocab_size}: data.tokenizer={tokenizer} has {size} tokens; say "
            f"data.vocab_size={size}"
        )


def _versions() -> str:
    """Of the packages that may read the same file differently one day."""
    try:
        return " ".join(version(package) for package in ("transformers", "tokenizers"))
    except PackageNotFoundError:
        return ""
