"""Any text data set of the Hugging Face hub, or a folder laid out like one."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lowrank_bench.data import files
from lowrank_bench.data.corpus import Document
from lowrank_bench.data.rows import loaded, text_in
from lowrank_bench.data.sizes import check_number


@dataclass(frozen=True, eq=False)
class HubText:
    """A document a row of `column`, read as they arrive; code of a data set is never run.

    `path` is a name on the hub (`owner/name`) or a local folder; `subset` is what the hub calls
    a configuration, `revision` a commit, tag or branch. What the hub holds may change, so a
    branch (or null: main) is what it was when it was read first; a commit is for ever. Hence no
    checksum but for a local folder.

    Raises: ConfigError when it cannot be reached or read, or has no such column.
    """

    path: str
    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    column: str = "text"
    max_documents: int | None = None

    @property
    def label(self) -> str:
        return f"data.path={self.path}"

    @property
    def _folder(self) -> Path | None:
        folder = Path(self.path).expanduser()
        return folder if folder.is_dir() else None

    @property
    def checksum(self) -> str | None:
        if self._folder is None:
            return None
        return files.checksum(list(files.local(str(self._folder))))

    @property
    def key(self) -> str:
        what = self.path if self.checksum is None else self.checksum
        how = [self.subset, self.split, self.revision, self.column, self.max_documents]
        return f"{type(self).__name__} {what} {how}"

    def documents(self) -> Iterator[Document]:
        if self.max_documents is not None:
            check_number("reader.max_documents", self.max_documents, least=1)
        found = loaded(
            self.label,
            str(self._folder or self.path),
            name=self.subset,
            split=self.split,
            revision=self.revision,
        )
        texts = (text_in(row, self.column, self.label) for row in found)
        kept = (Document(text) for text in texts if text)
        return islice(kept, self.max_documents)
