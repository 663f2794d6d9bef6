"""LLaMA from its shape, as the papers on low-rank pre-training use it."""

from typing import Any

from lowrank_bench.errors import ConfigError
from lowrank_bench.models.hf_nets import CausalNet, check_vocabulary, require_transformers


def llama(
    *,
    hidden: int,
    ff: int,
    layers: int,
    heads: int,
    vocab_size: int,
    max_positions: int,
    tokens: int | None,
) -> CausalNet:
    """Random weights, N(0, 0.02^2) as transformers draws them; norms begin at 1.

    RMSNorm, rotary positions, SwiGLU of width `ff`, no biases, a head of its own. With d =
    `hidden`, v = `vocab_size` and l = `layers` it has 2 v d + l (4 d^2 + 3 d ff + 2 d) + d
    parameters. `tokens` are those that the data have, of which there may be no more than v.
    Source: Touvron 2023, arXiv 2302.13971; transformers' LlamaForCausalLM.
    Raises: ConfigError for a shape that cannot be.
    """
    sizes = {"hidden": hidden, "ff": ff, "layers": layers, "heads": heads}
    for key, size in {**sizes, "vocab_size": vocab_size, "max_positions": max_positions}.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ConfigError(f"model.{key}={size}: must be a positive whole number")
    if hidden % heads or hidden // heads % 2:
        raise ConfigError(
            f"model.heads={heads}: must share out model.hidden={hidden} into even widths, which "
            "rotary positions need"
        )
    require_transformers()
    from transformers import LlamaConfig, LlamaForCausalLM

    attention: Any = {"attn_implementation": "sdpa"}
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden,
        intermediate_size=ff,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=max_positions,
        tie_word_embeddings=False,
        **attention,
    )
    net = CausalNet(LlamaForCausalLM(config))
    check_vocabulary(net.hf, tokens)
    return net
