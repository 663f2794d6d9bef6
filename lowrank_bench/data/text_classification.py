"""Texts to tell the class of."""

import logging

import numpy as np

from lowrank_bench.data.corpus import Corpus
from lowrank_bench.data.sizes import check_number, shares
from lowrank_bench.data.token_cache import tokens_of
from lowrank_bench.data.tokenizers import tokenizer_of
from lowrank_bench.data.tokens import LabelledPart
from lowrank_bench.errors import ConfigError
from lowrank_bench.objectives.classification import Classification


class TextClassificationData:
    """An example a row: a text, cut to `length` tokens, and its label.

    A tokenizer of Hugging Face puts around a text what its model wants there ([CLS], [SEP]).
    Texts that are empty are left out, and their number is said. `split_seed` draws which
    `val_size` and `test_size` examples are held out.

    `vocab_size`, `path`, `column` and `label_column` are here for models and readers to
    interpolate.

    Raises: ConfigError for a declaration that the files contradict.
    """

    def __init__(
        self,
        *,
        name: str,
        reader: Corpus,
        num_classes: int,
        tokenizer: str,
        vocab_size: int | None,
        length: int,
        val_size: float,
        test_size: float,
        split_seed: int,
        adapters: int | None = None,
        cache: str | None = None,
        path: object = None,
        column: str | None = None,
        label_column: str | None = None,
    ) -> None:
        self.name, self.adapters, self.checksum = name, adapters, reader.checksum
        self.num_classes, self.objective = num_classes, Classification(name, num_classes)
        check_number("length", length, least=1)
        tokens = tokens_of(
            reader,
            tokenizer_of(tokenizer, longest=length),
            vocab_size=vocab_size,
            split_seed=None,
            cache=cache,
        )
        found = int(tokens.labels.max()) + 1
        if found != num_classes:
            raise ConfigError(
                f"data.num_classes={num_classes}: {reader.label} has {found} different labels"
            )
        there = tokens.sizes > 0
        if lost := int((~there).sum()):
            logging.warning("%s: %d texts left out, which are empty", reader.label, lost)
        parts = shares(
            *(np.flatnonzero(there), val_size, test_size, split_seed, adapters), label=reader.label
        )

        def part(chosen: np.ndarray) -> LabelledPart | None:
            if not len(chosen):
                return None
            return LabelledPart(
                tokens.stream,
                tokens.starts[chosen],
                tokens.lengths[chosen],
                tokens.labels[chosen],
                length,
                adapters,
            )

        train, self.val, self.test = map(part, parts)
        assert train is not None
        self.train = train
