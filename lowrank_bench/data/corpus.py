"""What a reader of text returns: documents, one after the other, and a checksum of them.

Nothing on the way here imports torch or a tokenizer: the parent process of a sweep asks for the
checksum, and forks.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Document(NamedTuple):
    """A text that is tokenised in one piece."""

    text: str
    label: int = 0  # its class, where a corpus has classes
    ends: bool = True  # whether the tokenizer's end of a document follows


class Corpus(Protocol):
    """Documents in an order of their own."""

    @property
    def label(self) -> str:
        """What a message calls it: the key and the value that named it."""
        ...

    @property
    def checksum(self) -> str | None:
        """Of the raw content; None where that is not known before it is read."""
        ...

    @property
    def key(self) -> str:
        """Equal where the documents are."""
        ...

    def documents(self) -> Iterator[Document]: ...


@dataclass(frozen=True, eq=False)
class Texts:
    """Documents in memory."""

    label: str
    texts: Sequence[str]

    @property
    def checksum(self) -> str:
        """The first 16 hex digits of the sha256 over lengths and UTF-8 bytes."""
        digest = hashlib.sha256()
        for text in self.texts:
            content = text.encode()
            digest.update(f"{len(content)};".encode())
            digest.update(content)
        return digest.hexdigest()[:16]

    @property
    def key(self) -> str:
        return self.checksum

    def documents(self) -> Iterator[Document]:
        return (Document(text) for text in self.texts if text)
