"""LLaMA in plain torch, its parts and weights named as transformers names them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowrank_bench.objectives.objective import wide

EPS = 1e-6  # of the norms
STD = 0.02  # of the matrices at the start


class RMSNorm(nn.Module):
    """x (..., d) -> w * x / sqrt(mean(x^2) + eps), the root in single precision at least.

    Source: Zhang and Sennrich 2019, arXiv 1910.07467.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        full = wide(x)
        full = full * torch.rsqrt(full.pow(2).mean(-1, keepdim=True) + EPS)
        return self.weight * full.to(x.dtype)


class Attention(nn.Module):
    """Causal attention of x (n, t, d) with h heads of width w, which share k and v in groups.

    q_proj: (d, h w); k_proj, v_proj: (d, kv w); o_proj: (h w, d).
    Source: Ainslie 2023, arXiv 2305.13245, of the groups; Su 2021, arXiv 2104.09864, of the
    rotation.
    """

    def __init__(self, width: int, heads: int, kv_heads: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim, self.is_grouped = head_dim, kv_heads != heads
        self.q_proj = nn.Linear(width, heads * head_dim, bias=False)
        self.k_proj = nn.Linear(width, kv_heads * head_dim, bias=False)
        self.v_proj = nn.Linear(width, kv_heads * head_dim, bias=False)
        self.o_proj = nn.Linear(heads * head_dim, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        layers = (self.q_proj, self.k_proj, self.v_proj)
        q, k, v = (layer(x).unflatten(2, (-1, self.head_dim)).transpose(1, 2) for layer in layers)
        y = F.scaled_dot_product_attention(
            rotated(q, cos, sin),  # (n, h, t, w)
            rotated(k, cos, sin),  # (n, kv, t, w)
            v,
            is_causal=True,
            enable_gqa=self.is_grouped,
        )
        return self.o_proj(y.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x)). Source: Shazeer 2020, arXiv 2002.05202."""

    def __init__(self, width: int, ff: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, ff, bias=False)
        self.up_proj = nn.Linear(width, ff, bias=False)
        self.down_proj = nn.Linear(ff, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """x <- x + attention(norm(x)), then x <- x + mlp(norm(x))."""

    def __init__(self, width: int, ff: int, heads: int, kv_heads: int, head_dim: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads, kv_heads, head_dim)
        self.mlp = MLP(width, ff)
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(width), RMSNorm(width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """Token ids (n, t) -> their last states (n, t, d)."""

    def __init__(
        self, vocab_size: int, layers: int, theta: float, width: int, **sizes: int
    ) -> None:
        super().__init__()
        self.theta, self.head_dim = theta, sizes["head_dim"]
        self.embed_tokens = nn.Embedding(vocab_size, width)
        self.layers = nn.ModuleList(Block(width, **sizes) for _ in range(layers))
        self.norm = RMSNorm(width)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed_tokens(ids)
        cos, sin = rotation(ids.shape[1], self.head_dim, self.theta, x)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.norm(x)


class Llama(nn.Module):
    """Token ids (n, t) -> logits (n, t, v) for the next ones.

    Matrices start from N(0, 0.02^2), drawn in the order in which transformers 5 draws those of
    its LlamaForCausalLM; norms at 1. A tied head is the embeddings' matrix.
    Source: Touvron 2023, arXiv 2302.13971. Logits and weights of a seed equal those of
    transformers, whose import would take longer than all else before the first step.
    Differs: in double precision norms are computed in that, not in single.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        width: int,
        ff: int,
        layers: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        theta: float,
        tied: bool,
    ) -> None:
        super().__init__()
        sizes = {"ff": ff, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim}
        self.model = Decoder(vocab_size, layers, theta, width, **sizes)
        _draw(self.model)
        self.lm_head = nn.Linear(width, vocab_size, bias=False)
        if tied:
            self.lm_head.weight = self.model.embed_tokens.weight
        else:
            _draw(self.lm_head)

    def forward(self, ids: Tensor) -> Tensor:
        return self.lm_head(self.model(ids))


def _draw(module: nn.Module) -> None:
    for each in module.modules():
        # Without values there is nothing to draw.
        if isinstance(each, nn.Linear | nn.Embedding) and not each.weight.is_meta:
            nn.init.normal_(each.weight, std=STD)


def rotation(length: int, head_dim: int, theta: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin (t, w) of the angles p / theta^(2i/w), i in 0 .. w/2 - 1, twice over.

    Made anew for each batch, so that no cast of the model makes the angles coarse.
    """
    single = {"dtype": torch.float32, "device": like.device}
    inverse = 1.0 / theta ** (torch.arange(0, head_dim, 2, **single) / head_dim)  # (w / 2)
    angles = torch.arange(length, **single)[:, None] * inverse  # (t, w / 2)
    angles = torch.cat((angles, angles), -1)
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (..., t, w), entry i turned against entry i + w/2 by the angle of its position."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin
