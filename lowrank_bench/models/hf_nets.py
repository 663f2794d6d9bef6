"""Hugging Face's models as the bench asks for them: token ids in, one tensor of logits out."""

from typing import Any

import torch
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError


class CausalNet(nn.Module):
    """x (n, t) int64, padded on the right by negatives -> logits (n, t, v) for the next tokens.

    No position looks at a later one, so padding on the right needs no mask: it is read as token
    0, and what comes out there has no target.
    """

    def __init__(self, hf: Any) -> None:
        super().__init__()
        self.hf = hf
        self.positions = positions(hf)

    def forward(self, x: Tensor) -> Tensor:
        check_length(x, self.positions)
        return self.hf(input_ids=x.clamp(min=0), use_cache=False).logits

    @torch.no_grad()
    def looks_ahead(self) -> bool:
        """Whether what comes out at the first token depends on the second."""
        if any(p.is_meta for p in self.parameters()):
            return False
        was = self.training
        first = self.eval()(torch.tensor([[0, 0], [0, 1]]))[:, 0]  # (2, v)
        self.train(was)
        return bool((first[0] - first[1]).abs().max() > 1e-3 * first.abs().max())


class ClassifierNet(nn.Module):
    """x (n, t) int64, padded on the right by negatives -> logits (n, k), one row a sequence.

    Padding becomes the model's own pad token, hidden by the attention mask. Decoders answer at
    the last token that is no pad token.
    """

    def __init__(self, hf: Any) -> None:
        super().__init__()
        self.hf = hf
        self.positions = positions(hf)

    def forward(self, x: Tensor) -> Tensor:
        check_length(x, self.positions)
        is_there = x >= 0
        ids = x.where(is_there, self.hf.config.pad_token_id)
        return self.hf(input_ids=ids, attention_mask=is_there.long()).logits


def check_vocabulary(known: int, vocab_size: int | None) -> None:
    """Raise ConfigError where the data have tokens that the model does not; None is unknown."""
    if vocab_size is not None and vocab_size > known:
        raise ConfigError(
            f"data.vocab_size={vocab_size}: the model knows {known} tokens; choose its own "
            "tokenizer by data.tokenizer"
        )


def vocabulary(hf: Any) -> int:
    """How many tokens a model knows."""
    return hf.get_input_embeddings().num_embeddings


def positions(hf: Any) -> int | None:
    """How long its sequences may be; None where nothing says.

    RoBERTa and its kin count positions from the one after that of padding.
    """
    said = getattr(hf.config, "max_position_embeddings", None)
    if not isinstance(said, int) or said < 1:
        return None
    for name, module in hf.named_modules():
        if name.endswith("embeddings.position_embeddings"):
            unused = getattr(module, "padding_idx", None)
            return said if unused is None else said - unused - 1
    return said


def check_length(x: Tensor, positions: int | None) -> None:
    """Raise ConfigError for sequences (n, t) longer than the model's."""
    if positions is not None and positions < x.shape[1]:
        raise ConfigError(
            f"data.length={x.shape[1]}: the model has {positions} positions; sequences must be "
            "no longer"
        )


def choose_padding(hf: Any) -> None:
    """Give a classifier a token for padding, where its config names none."""
    if hf.config.pad_token_id is None:
        # A decoder passes over such tokens in a text too: best one that ends texts. Token 0 is a
        # common word in some vocabularies, "!" in GPT-2's.
        end = hf.config.eos_token_id
        hf.config.pad_token_id = end if isinstance(end, int) and 0 <= end < vocabulary(hf) else 0


def check_classes(num_classes: int) -> None:
    """Raise ConfigError for what is no number of classes."""
    if not isinstance(num_classes, int) or isinstance(num_classes, bool) or num_classes < 2:
        raise ConfigError(f"model.num_classes={num_classes}: must be a whole number from 2 on")


def require_transformers() -> None:
    """Raise ConfigError, saying what to install, where transformers is missing."""
    try:
        import transformers  # noqa: F401
    except ImportError:
        raise ConfigError(
            "model: the package transformers is not installed; pip install 'lowrank-bench[hf]'"
        ) from None
