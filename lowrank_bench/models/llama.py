"""LLaMA from its shape, as the papers on low-rank pre-training use it."""

from typing import Any

from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.models.hf_nets import (
    CausalNet,
    check_length,
    check_vocabulary,
    require_transformers,
)
from lowrank_bench.models.llama_net import EPS, STD, Llama


class LlamaNet(nn.Module):
    """x (n, t) int64, padded on the right by negatives -> logits (n, t, v) for the next tokens.

    As a CausalNet, whose inner model has weights of the same names (hf_nets.py).
    """

    def __init__(self, shape: dict[str, Any], max_positions: int) -> None:
        super().__init__()
        self.shape, self.max_positions = shape, max_positions
        self.hf = Llama(**shape)

    def forward(self, x: Tensor) -> Tensor:
        check_length(x, self.max_positions)
        return self.hf(x.clamp(min=0))

    def published(self) -> CausalNet:
        """The same network by transformers' own classes, which know how to save themselves.

        Raises: ConfigError where transformers is missing.
        """
        require_transformers()
        from transformers import LlamaConfig, LlamaForCausalLM

        shape = self.shape
        own: Any = {"attn_implementation": "sdpa"}
        config = LlamaConfig(
            vocab_size=shape["vocab_size"],
            hidden_size=shape["width"],
            intermediate_size=shape["ff"],
            num_hidden_layers=shape["layers"],
            num_attention_heads=shape["heads"],
            num_key_value_heads=shape["kv_heads"],
            head_dim=shape["head_dim"],
            max_position_embeddings=self.max_positions,
            rope_parameters={"rope_type": "default", "rope_theta": shape["theta"]},
            rms_norm_eps=EPS,
            initializer_range=STD,
            tie_word_embeddings=shape["tied"],
            **own,
        )
        theirs: Any = LlamaForCausalLM(config)
        net = CausalNet(theirs.to(self.hf.lm_head.weight.dtype))
        net.load_state_dict(self.state_dict())
        return net.train(self.training)


def llama(
    *,
    hidden: int,
    ff: int,
    layers: int,
    heads: int,
    vocab_size: int,
    max_positions: int,
    tokens: int | None,
    kv_heads: int | None = None,
    head_dim: int | None = None,
    rope_theta: float = 10_000.0,
    tied: bool = False,
) -> LlamaNet:
    """Random weights, N(0, 0.02^2); norms begin at 1.

    RMSNorm, rotary positions, SwiGLU of width `ff`, no biases. `kv_heads` is how many heads k and
    v have, each shared by heads / kv_heads of q (None: as many); `head_dim` their width (None:
    hidden / heads); `tied` makes the head the embeddings' matrix. With d = `hidden`, v =
    `vocab_size`, l = `layers` and w = `head_dim` it has (1 or, untied, 2) v d + l (2 d w (heads +
    kv_heads) + 3 d ff + 2 d) + d parameters, for the first LLaMA 2 v d + l (4 d^2 + 3 d ff + 2 d)
    + d. `tokens` are those that the data have, of which there may be no more than v.

    Source: Touvron 2023, arXiv 2302.13971; Llama 2 and 3, arXiv 2307.09288 and 2407.21783.
    Differs: the rotation's frequencies are not scaled, as those of Llama 3.1 and 3.2 are, for
    texts longer than these were first trained on.
    Raises: ConfigError for a shape that cannot be.
    """
    sizes = {"hidden": hidden, "ff": ff, "layers": layers, "heads": heads}
    sizes |= {"vocab_size": vocab_size, "max_positions": max_positions}
    optional = {"kv_heads": kv_heads, "head_dim": head_dim}
    sizes |= {key: size for key, size in optional.items() if size is not None}
    for key, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ConfigError(f"model.{key}={size}: must be a positive whole number")
    if head_dim is None and (hidden % heads or hidden // heads % 2):
        raise ConfigError(
            f"model.heads={heads}: must share out model.hidden={hidden} into even widths, which "
            "rotary positions need; or say model.head_dim"
        )
    if head_dim is not None and head_dim % 2:
        raise ConfigError(f"model.head_dim={head_dim}: must be even, for rotary positions")
    if kv_heads is not None and heads % kv_heads:
        raise ConfigError(f"model.kv_heads={kv_heads}: must divide model.heads={heads}")
    if not isinstance(rope_theta, int | float) or isinstance(rope_theta, bool) or rope_theta <= 1:
        raise ConfigError(f"model.rope_theta={rope_theta}: must be a number above 1")
    if not isinstance(tied, bool):
        raise ConfigError(f"model.tied={tied}: must be true or false")
    check_vocabulary(vocab_size, tokens)
    shape = {
        "vocab_size": vocab_size,
        "width": hidden,
        "ff": ff,
        "layers": layers,
        "heads": heads,
        "kv_heads": kv_heads or heads,
        "head_dim": head_dim or hidden // heads,
        "theta": float(rope_theta),
        "tied": tied,
    }
    return LlamaNet(shape, max_positions)
