"""The user's own files of text: as documents, as prompts with responses, or with labels."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lowrank_bench.data import files
from lowrank_bench.data.corpus import Document
from lowrank_bench.data.rows import READERS, rows_of, text_in, value_in
from lowrank_bench.errors import ConfigError

TEXT = (".txt", ".jsonl", ".parquet")
FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, eq=False)
class Files:
    """Some files of one of the kinds that `suffixes` names."""

    path: str | Sequence[str]
    suffixes = tuple(READERS)

    @property
    def label(self) -> str:
        return f"data.path={self.path}"

    @cached_property
    def paths(self) -> list[Path]:
        return files.files(self.path, self.suffixes)

    @property
    def checksum(self) -> str:
        return files.checksum(self.paths)

    @property
    def key(self) -> str:
        """The content, and how it is read."""
        return f"{type(self).__name__} {self.checksum} {self._how()}"

    def _how(self) -> list[Any]:
        return [value for name, value in vars(self).items() if name in self.__annotations__]


@dataclass(frozen=True, eq=False)
class TextFiles(Files):
    """A document a .txt file, or a row of a .jsonl or .parquet file; empty ones are left out.

    A .txt file is read without datasets, whose reader of them makes a row of each line.

    Raises: ConfigError when a file is not there, is not UTF-8, or has no such column.
    """

    column: str = "text"
    suffixes = TEXT

    def documents(self) -> Iterator[Document]:
        for path in self.paths:
            label = f"data.path={path}"
            texts = (
                [_text(path, label)]
                if path.suffix == ".txt"
                else (text_in(row, self.column, label) for row in rows_of(path))
            )
            yield from (Document(text) for text in texts if text)


@dataclass(frozen=True, eq=False)
class PromptFiles(Files):
    """Prompts and responses by turns, of .jsonl, .parquet or .csv files.

    A prompt is `template` with each {column} replaced by what stands there in the row.

    Raises: ConfigError when a file is not there, or has no such column.
    """

    template: str = "{prompt}"
    response: str = "response"

    def documents(self) -> Iterator[Document]:
        if not isinstance(self.template, str) or not FIELD.search(self.template):
            raise ConfigError(
                f"data.template={self.template}: must name a column, as in {{prompt}}"
            )
        for path in self.paths:
            label = f"data.path={path}"
            for row in rows_of(path):
                prompt = FIELD.sub(
                    lambda found, row=row, label=label: text_in(
                        row, found[1], label, key="template"
                    ),
                    self.template,
                )
                yield Document(prompt, ends=False)
                yield Document(text_in(row, self.response, label, key="response"))


@dataclass(frozen=True, eq=False)
class LabelledFiles(Files):
    """Texts with labels, of .jsonl, .parquet or .csv files.

    Labels are numbers or words; they are numbered in sorted order, so 0 .. k-1 keep theirs.

    Raises: ConfigError when a file is not there, has no such column, or a label is missing.
    """

    column: str = "text"
    label_column: str = "label"

    def documents(self) -> Iterator[Document]:
        number = {label: i for i, label in enumerate(self._labels())}
        for path, row in self._rows():
            text = text_in(row, self.column, f"data.path={path}")
            yield Document(text, label=number[row[self.label_column]], ends=False)

    def _rows(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        return ((path, row) for path in self.paths for row in rows_of(path))

    def _labels(self) -> list[Any]:
        found = set()
        for path, row in self._rows():
            label = value_in(row, self.label_column, f"data.path={path}", key="label_column")
            if not isinstance(label, str | int):
                raise ConfigError(
                    f"data.label_column={self.label_column}: holds {label!r} in data.path={path}; "
                    "labels must be words or whole numbers"
                )
            found.add(label)
        if len({type(label) for label in found}) > 1:
            raise ConfigError(
                f"data.label_column={self.label_column}: holds words and numbers in {self.label}"
            )
        return sorted(found)


def _text(path: Path, label: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{label}: byte {error.start} is not UTF-8 ({error.reason}); convert the file first"
        ) from None
    except OSError as error:
        raise ConfigError(f"{label}: cannot be read ({error.strerror})") from None
