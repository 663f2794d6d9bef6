"""Tokens on disk, made once and mapped into memory by whoever trains on them.

A folder holds the tokens of one corpus by one tokenizer in one order of documents:

    tokens.bin      each document's tokens and its end, document after document (uint16 or uint32)
    documents.npy   (d, 3) int64: tokens of each document, UTF-8 bytes of it, its label
    meta.json       what the tokens are, and the crc32 of both files

It is whole once meta.json is there. Processes that want the same one wait for the first.
"""

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from filelock import FileLock

from lowrank_bench.data import folders
from lowrank_bench.data.corpus import Corpus, Document
from lowrank_bench.data.tokenizers import Tokenizer, check_vocab_size
from lowrank_bench.errors import ConfigError

FORMAT = 1
TOKENS, DOCUMENTS, META = "tokens.bin", "documents.npy", "meta.json"
BATCH = 256  # documents tokenised at once
CHUNK = 2**24  # bytes read at once for a checksum


@dataclass(frozen=True, eq=False)
class Tokens:
    """One long sequence, mapped into memory, and the documents it is made of."""

    stream: np.ndarray  # (t,) uint16 or uint32
    lengths: np.ndarray  # (d,) tokens of each document, its end included
    sizes: np.ndarray  # (d,) UTF-8 bytes of each document
    labels: np.ndarray  # (d,)
    vocab_size: int  # of the tokenizer

    @property
    def starts(self) -> np.ndarray:
        """Where each document (d,) begins in the stream."""
        return np.cumsum(self.lengths) - self.lengths

    def bytes_per_token(self, first: int, last: int) -> float:
        """UTF-8 bytes over tokens of stream[first:last], where all documents end.

        The end of a document is a token of no bytes. A document that is cut by an edge gives
        bytes in proportion to its other tokens, which for bytes as tokens is exact, as is the
        count of all other documents.
        """
        starts, texts = self.starts, self.lengths - 1
        inside = np.minimum(starts + texts, last) - np.maximum(starts, first)
        shares = np.clip(inside, 0, None) / np.maximum(texts, 1)
        return float((shares * self.sizes).sum() / (last - first))


def tokens_of(
    corpus: Corpus,
    tokenizer: Tokenizer,
    *,
    vocab_size: int | None,
    split_seed: int | None,
    max_tokens: int | None = None,
    cache: str | None,
) -> Tokens:
    """The tokens of `corpus`, its documents in the order that `split_seed` draws; null: its own.

    No document is begun after `max_tokens`. They are taken from the folder `cache` (null: ours),
    and put there if they are not, or are not whole.

    Raises: ConfigError when the folder cannot be written, when there is no text, or when the
    tokenizer has more tokens than `vocab_size`.
    """
    root = _root(cache)
    asked = f"{FORMAT} {corpus.key} {tokenizer.identity} {split_seed} {max_tokens}"
    folder = root / hashlib.sha256(asked.encode()).hexdigest()[:16]
    found = _read(folder)
    if found is None:
        check_vocab_size(vocab_size, tokenizer=tokenizer.name, size=tokenizer.size)
        try:
            (root / ".locks").mkdir(parents=True, exist_ok=True)
            with FileLock(root / ".locks" / f"{folder.name}.lock"):
                found = _read(folder)  # made by whom we waited for
                if found is None:
                    with _workplace(root / f".making-{folder.name}") as made:
                        _make(made, corpus, tokenizer, split_seed, max_tokens)
                        _put(made, folder)
                    found = _read(folder)
        except OSError as error:
            place = "null" if cache is None else cache
            reason = error.strerror or error
            raise ConfigError(f"data.cache={place}: {root} cannot be written ({reason})") from None
        assert found is not None
    check_vocab_size(vocab_size, tokenizer=tokenizer.name, size=found.vocab_size)
    return found


def _root(cache: str | None) -> Path:
    if cache is None:
        return folders.cache().with_name("tokens")
    return Path(cache).expanduser().absolute()


def _read(folder: Path) -> Tokens | None:
    """What is in `folder`, or None when it is not there or not whole."""
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        if meta["checksums"] != _checksums(folder):
            return None
        stream = np.memmap(folder / TOKENS, meta["dtype"], mode="r")
        documents = np.load(folder / DOCUMENTS)
        # a plain array: indexing a memmap makes a memmap of each piece
        return Tokens(np.asarray(stream), *documents.T, vocab_size=meta["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _make(
    folder: Path,
    corpus: Corpus,
    tokenizer: Tokenizer,
    split_seed: int | None,
    max_tokens: int | None,
) -> None:
    dtype = np.dtype(np.uint16 if tokenizer.size <= 2**16 else np.uint32)
    unordered = folder / "unordered.bin"
    documents = _tokenise(unordered, dtype, corpus, tokenizer, max_tokens)  # (d, 3)
    if split_seed is None:
        order = np.arange(len(documents))
        os.rename(unordered, folder / TOKENS)
    else:
        # RandomState, since numpy promises its stream for ever
        order = np.random.RandomState(split_seed).permutation(len(documents))
        source = np.memmap(unordered, dtype, mode="r")
        ends = np.cumsum(documents[:, 0])
        with open(folder / TOKENS, "wb") as file:
            for each in order:
                file.write(source[ends[each] - documents[each, 0] : ends[each]].data)
    np.save(folder / DOCUMENTS, documents[order])
    meta = {"dtype": dtype.str, "vocab_size": tokenizer.size, "checksums": _checksums(folder)}
    (folder / META).write_text(json.dumps(meta), encoding="utf-8")


def _tokenise(
    path: Path, dtype: np.dtype, corpus: Corpus, tokenizer: Tokenizer, max_tokens: int | None
) -> np.ndarray:
    """Write the tokens of all documents; return tokens, bytes and label of each, (d, 3)."""
    documents, count = [], 0
    with open(path, "wb") as file:
        for batch in _batches(corpus.documents()):
            encoded = tokenizer.encode([document.text for document in batch])
            for (text, label, ends), tokens in zip(batch, encoded, strict=True):
                if max_tokens is not None and count >= max_tokens:
                    break
                file.write(tokens.astype(dtype).tobytes())
                if ends:
                    file.write(dtype.type(tokenizer.end).tobytes())
                documents.append((len(tokens) + ends, len(text.encode()), label))
                count += len(tokens) + ends
            if max_tokens is not None and count >= max_tokens:
                break
    if not count:
        raise ConfigError(f"{corpus.label}: holds no text")
    return np.array(documents, np.int64)


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """An empty folder that is gone afterwards; what a killed process left there goes before."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put(made: Path, folder: Path) -> None:
    """Move what was made to its name, in place of what was not whole there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in (TOKENS, DOCUMENTS, META):  # the last one makes it whole
        with open(made / name, "rb") as file:
            os.fsync(file.fileno())
        os.replace(made / name, folder / name)


def _batches(documents: Iterator[Document]) -> Iterator[list[Document]]:
    while batch := list(islice(documents, BATCH)):
        yield batch


def _checksums(folder: Path) -> dict[str, int]:
    return {name: _crc32(folder / name) for name in (TOKENS, DOCUMENTS)}


def _crc32(path: Path) -> int:
    value = 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            value = zlib.crc32(chunk, value)
    return value
