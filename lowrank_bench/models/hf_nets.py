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
        is_there = x >= 0
        ids = x.where(is_there, self.hf.config.pad_token_id)
        return self.hf(input_ids=ids, attention_mask=is_there.long()).logits


def require_transformers() -> None:
    """Raise ConfigError, saying what to install, where transformers is missing."""
    try:
        import transformers  # noqa: F401
    except ImportError:
        raise ConfigError(
            "model: the package transformers is not installed; pip install 'lowrank-bench[hf]'"
        ) from None
