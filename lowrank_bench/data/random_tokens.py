"""Tokens that mean nothing, drawn from a seed: to measure time and memory by."""

import hashlib
from dataclasses import asdict, dataclass
from functools import cache
from math import log2

import numpy as np

from lowrank_bench.data.sizes import check_number, check_split, sizes
from lowrank_bench.data.tokens import LabelledPart, TokenPart
from lowrank_bench.objectives.causal_lm import CausalLM
from lowrank_bench.objectives.classification import Classification

WHAT = "sequences"


@dataclass(frozen=True)
class RandomTokens:
    """`examples` sequences of `length` tokens and one more, uniform over `vocab_size`.

    With `num_classes`, each has a label, uniform as well.
    Raises: ConfigError for numbers that cannot be.
    """

    vocab_size: int
    length: int
    examples: int
    seed: int
    num_classes: int | None = None

    def __post_init__(self) -> None:
        check_number("vocab_size", self.vocab_size, least=2, most=2**31 - 1)
        check_number("length", self.length, least=1)
        check_number("examples", self.examples, least=1)
        check_number("seed", self.seed, least=0, most=2**32 - 1)
        if self.num_classes is not None:
            check_number("num_classes", self.num_classes, least=2)

    @property
    def checksum(self) -> str:
        """Of the settings, which are all that the content follows from."""
        return hashlib.sha256(f"{type(self).__name__} {asdict(self)}".encode()).hexdigest()[:16]

    def draw(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Tokens (n, t + 1) int32 and labels (n,) int64, if there are any."""
        return _drawn(self)


@cache  # the runs of a sweep share them; the settings are hashable
def _drawn(of: RandomTokens) -> tuple[np.ndarray, np.ndarray | None]:
    # RandomState, whose stream numpy promises for ever
    random = np.random.RandomState(of.seed)
    tokens = random.randint(0, of.vocab_size, (of.examples, of.length + 1), np.int32)
    labels = None if of.num_classes is None else random.randint(0, of.num_classes, of.examples)
    return tokens, labels


class RandomTokenData:
    """`reader`'s sequences, split in their order: train, val and test, the latter None when empty.

    Each token is to be predicted from those before it; with `num_classes` the label from a
    sequence of `length`. Nothing can be learnt but by heart: the loss on new sequences is least
    at ln `vocab_size`, where bits_per_byte is 8, a token being log2(vocab_size) / 8 bytes.
    `val_size` and `test_size` are numbers of sequences, or shares of all. `vocab_size`, `length`,
    `examples`, `seed` and `num_classes` are here for models and the reader to interpolate.
    Raises: ConfigError for numbers that cannot be.
    """

    def __init__(
        self,
        *,
        name: str,
        reader: RandomTokens,
        vocab_size: int,
        length: int,
        examples: int,
        seed: int,
        num_classes: int | None,
        val_size: float,
        test_size: float,
        adapters: int | None,
    ) -> None:
        self.name, self.checksum, self.adapters = name, reader.checksum, adapters
        train, val, test = sizes(examples, val_size, test_size, what=WHAT, label=f"data={name}")
        check_split(train, 0, adapters)
        tokens, labels = reader.draw()
        bounds = (slice(0, train), slice(train, train + val), slice(train + val, examples))
        parts = [self._part(tokens[b], None if labels is None else labels[b]) for b in bounds]
        self.train = parts[0]
        self.val = parts[1] if val else None
        self.test = parts[2] if test else None
        if num_classes is None:
            self.objective = CausalLM(name, vocab_size, log2(vocab_size) / 8)
        else:
            self.objective = Classification(name, num_classes)

    def _part(self, tokens: np.ndarray, labels: np.ndarray | None) -> TokenPart | LabelledPart:
        if labels is None:
            return TokenPart(tokens, self.adapters)
        count, width = tokens.shape
        starts, lengths = np.arange(count) * width, np.full(count, width - 1)
        return LabelledPart(
            tokens.reshape(-1), starts, lengths, labels, width - 1, adapters=self.adapters
        )
