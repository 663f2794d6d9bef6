"""Text to model: documents, tokenised and packed into sequences of one length."""

from lowrank_bench.data.corpus import Corpus
from lowrank_bench.data.sizes import check_number, check_split, sizes
from lowrank_bench.data.token_cache import tokens_of
from lowrank_bench.data.tokenizers import tokenizer_of
from lowrank_bench.data.tokens import TokenPart, windows_of
from lowrank_bench.errors import ConfigError
from lowrank_bench.objectives.causal_lm import CausalLM


class TextData:
    """Sequences of `length` tokens: `train`, `val` and `test`, the latter two None when empty.

    Documents are shuffled by `split_seed`, each followed by the tokenizer's end of a document,
    joined, and cut into windows. So a window may begin within a document and hold several, and a
    token may be predicted from the document before it: standard packing, without a mask between
    documents. Training, validation and test windows lie in this order, each in one piece, so at
    most one document is shared by two neighbours.

    `val_size` and `test_size` are whole numbers of sequences, or shares of all. `vocab_size`,
    `num_classes`, `path` and `column` are here for models and readers to interpolate.
    The objective's `bytes_per_token` is measured over the targets of validation and test, or
    over all where there are neither. No document is begun after `max_tokens`.

    Raises: ConfigError for a text too short, or a declaration that the tokenizer contradicts.
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
        max_tokens: int | None = None,
        adapters: int | None = None,
        cache: str | None = None,
        path: object = None,
        column: str | None = None,
        num_classes: None = None,
    ) -> None:
        self.name, self.adapters, self.checksum = name, adapters, reader.checksum
        check_number("length", length, least=1)
        check_split(1, split_seed, None)  # the tokens come in its order
        if max_tokens is not None:
            check_number("max_tokens", max_tokens, least=1)
        used = tokenizer_of(tokenizer)
        tokens = tokens_of(
            reader,
            used,
            vocab_size=vocab_size,
            split_seed=split_seed,
            max_tokens=max_tokens,
            cache=cache,
        )
        count = len(tokens.stream)
        if count <= length:
            raise ConfigError(
                f"data.length={length}: {reader.label} has {count} tokens, fewer than one sequence "
                "and the token after it"
            )
        windows = windows_of(tokens.stream, length)
        train, val, test = sizes(
            len(windows), val_size, test_size, what="sequences", label=reader.label
        )
        check_split(train, split_seed, adapters)
        self.train = TokenPart(windows[:train], adapters)
        self.val = TokenPart(windows[train : train + val], adapters) if val else None
        self.test = TokenPart(windows[train + val :], adapters) if test else None
        first = train * length if val or test else 0
        last = len(windows) * length
        per_token = tokens.bytes_per_token(first + 1, last + 1)
        self.objective = CausalLM(name, tokens.vocab_size, per_token)
