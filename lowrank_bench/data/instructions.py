"""Prompts with responses, to learn the responses of."""

import logging

import numpy as np

from lowrank_bench.data.corpus import Corpus
from lowrank_bench.data.sizes import check_number, shares
from lowrank_bench.data.token_cache import Tokens, tokens_of
from lowrank_bench.data.tokenizers import tokenizer_of
from lowrank_bench.data.tokens import ResponsePart
from lowrank_bench.errors import ConfigError
from lowrank_bench.objectives.causal_lm import CausalLM


class InstructionData:
    """An example a row: prompt, response and the tokenizer's end; the loss is the response's.

    Prompt and response are tokenised apart. What is longer than `length` is cut from the right;
    an example of which no token of a response is left, or whose response is empty, is left out,
    and their number is said. `split_seed` draws which `val_size` and `test_size` examples are
    held out. `bytes_per_token` is of the responses, of validation and test where there are any;
    one that is cut gives bytes in proportion to its tokens.

    `vocab_size`, `num_classes`, `path`, `template` and `response` are here for models and readers
    to interpolate.

    Raises: ConfigError when no example is left, or for a declaration that does not hold.
    """

    def __init__(
        self,
        *,
        name: str,
        reader: Corpus,
        tokenizer: str,
        vocab_size: int | None,
        length: int,
        val_size: float,
        test_size: float,
        split_seed: int,
        adapters: int | None = None,
        cache: str | None = None,
        num_classes: None = None,
        path: object = None,
        template: str | None = None,
        response: str | None = None,
    ) -> None:
        self.name, self.adapters, self.checksum = name, adapters, reader.checksum
        check_number("length", length, least=1)
        tokens = tokens_of(
            reader, tokenizer_of(tokenizer), vocab_size=vocab_size, split_seed=None, cache=cache
        )
        prompts, whole = tokens.lengths[::2], tokens.lengths[::2] + tokens.lengths[1::2]
        lengths = np.minimum(whole, length + 1)
        there = (lengths > np.maximum(prompts, 1)) & (tokens.sizes[1::2] > 0)
        if not there.any():
            raise ConfigError(
                f"data.length={length}: of no example of {reader.label} a token of the response "
                "is left"
            )
        if lost := int((~there).sum()):
            logging.warning(
                "%s: %d of %d examples left out, with no response within data.length=%d",
                *(reader.label, lost, len(there), length),
            )
        numbers = np.flatnonzero(there)
        parts = shares(numbers, val_size, test_size, split_seed, adapters, label=reader.label)

        def part(chosen: np.ndarray) -> ResponsePart | None:
            if not len(chosen):
                return None
            return ResponsePart(
                tokens.stream,
                tokens.starts[::2][chosen],
                prompts[chosen],
                lengths[chosen],
                length,
                adapters,
            )

        train, self.val, self.test = map(part, parts)
        assert train is not None
        self.train = train
        measured = np.concatenate(parts[1:]) if self.val or self.test else numbers
        per_token = _bytes_per_token(tokens, prompts, lengths, measured)
        self.objective = CausalLM(name, tokens.vocab_size, per_token)


def _bytes_per_token(
    tokens: Tokens, prompts: np.ndarray, lengths: np.ndarray, chosen: np.ndarray
) -> float:
    """UTF-8 bytes over tokens of the responses that are to be predicted."""
    texts = tokens.lengths[1::2] - 1  # tokens of each response but its end, which has no bytes
    first = np.maximum(prompts, 1)
    share = (np.minimum(lengths, prompts + texts) - first) / np.maximum(texts, 1)
    return float((share * tokens.sizes[1::2])[chosen].sum() / (lengths - first)[chosen].sum())
