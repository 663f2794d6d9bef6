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

    def forward(self, x: Tensor) -> Tensor:
        _check_length(x, self.hf)
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

    def forward(self, x: Tensor) -> Tensor:
        _check_length(x, self.hf)
        is_there = x >= 0
        ids = x.where(is_there, self.hf.config.pad_token_id)
        return self.hf(input_ids=ids, attention_mask=is_there.long()).logits


def check_vocabulary(hf: Any, vocab_size: int | None) -> None:
    """Raise ConfigError where the data have tokens that the model does not; None is unknown."""
    known = hf.get_input_embeddings().num_embeddings
    if vocab_size is not None and vocab_size > known:
        raise ConfigError(
            f"data.vocab_size={vocab_size}: the model knows {known} tokens; choose its own "
            "tokenizer by data.tokenizer"
        )


def _check_length(x: Tensor, hf: Any) -> None:
    positions = getattr(hf.config, "max_position_embeddings", None)
    if positions is not None and 0 < positions < x.shape[1]:
        raise ConfigError(
            f"data.length={x.shape[1]}: the model has {positions} positions; sequences must be "
            "no longer"
        )


def require_transformers() -> None:
    """Raise ConfigError, saying what to install, where transformers is missing."""
    try:
        import transformers  # noqa: F401
    except ImportError:
        raise ConfigError(
            "model: the package transformers is not installed; pip install 'lowrank-bench[hf]'"
        ) from None
