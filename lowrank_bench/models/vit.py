"""The Vision Transformer spelt in plain linear layers."""

import re
from collections.abc import Mapping, Sequence
from math import prod, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.rank import check_rank
from lowrank_bench.models.images import Fit
from lowrank_bench.models.pretrained import check_used, fill, read_weights

EPS = 1e-6  # of the norms, as in torchvision and the paper's code; torch's default is 1e-5


class Block(nn.Module):
    """x <- x + out(attention(q, k, v)), then x <- x + down(gelu(up(.))), each of the normed x.

    x (n, t, d). q, k, v, out: (d, d); up: (d, m); down: (m, d).
    """

    def __init__(self, width: int, heads: int, mlp_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(width, eps=EPS)
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.ln_2 = nn.LayerNorm(width, eps=EPS)
        self.up, self.down = nn.Linear(width, mlp_width), nn.Linear(mlp_width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        q, k, v = (self._split(layer(y)) for layer in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v)  # (n, heads, t, d / heads)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.ln_2(x))))

    def _split(self, y: Tensor) -> Tensor:
        """(n, t, d) -> (n, heads, t, d / heads)"""
        return y.unflatten(2, (self.heads, -1)).transpose(1, 2)


class ViT(nn.Module):
    """Images (n, c, h, w) -> logits (n, k), from the class token of a pre-norm encoder.

    Tokens are patches of `patch_size` pixels of a side, row by row after the class token, with
    learnt positions. `channels` and `image_size` say what images are made first (images.py).

    With `load_weights` the weights are those of `weights` (pretrained.py), spelt as torchvision
    spells them or as here; a head of `head_rule` fresh is left random.

    Source: Dosovitskiy 2020, section 3.1 and appendix D, arXiv 2010.11929; logits equal those of
    torchvision 0.29, VisionTransformer, which replaces nn.MultiheadAttention's layers by nothing
    that an adapter could stand in for: its forward reads the weight of `out_proj`, not the layer.
    Differs: no dropout; the head starts as nn.Linear does, where both start it at zero, which
    would let no gradient through at first.
    Raises: ConfigError for sizes that do not fit each other, and as pretrained.py.
    """

    def __init__(
        self,
        *,
        in_shape: Sequence[int],
        num_classes: int,
        patch_size: int,
        width: int,
        depth: int,
        heads: int,
        mlp_width: int,
        channels: int | None = None,
        image_size: int | None = None,
        weights: str | None = None,
        arch: str | None = None,
        load_weights: bool = False,
        head_rule: str = "kept",
    ) -> None:
        super().__init__()
        sizes = {"patch_size": patch_size, "width": width, "depth": depth, "heads": heads}
        for key, size in (sizes | {"mlp_width": mlp_width}).items():
            check_rank(size, f"model.{key}")
        if width % heads:
            raise ConfigError(f"model.heads={heads}: must divide model.width={width}")
        self.fit = Fit(in_shape, channels, image_size)
        c, *size = self.fit.shape
        if any(side % patch_size for side in size):
            raise ConfigError(
                f"model.patch_size={patch_size}: must divide the sides of images of "
                f"{size[0]} x {size[1]} pixels; or say model.image_size, to which they are resized"
            )
        check_used(weights, load_weights)
        self.patches = nn.Conv2d(c, width, patch_size, stride=patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        count = 1 + prod(side // patch_size for side in size)
        self.positions = nn.Parameter(torch.empty(1, count, width).normal_(std=0.02))
        self.blocks = nn.ModuleList(Block(width, heads, mlp_width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.head = nn.Linear(width, num_classes)
        self._draw()
        if load_weights:
            state = plainly_spelt(read_weights(weights, arch))
            fill(self, state, weights=weights, head="head", rule=head_rule)

    @torch.no_grad()
    def _draw(self) -> None:
        """As the paper's code: Glorot-uniform matrices, biases of zero, 1e-6 within the MLP."""
        fan_in = self.patches.weight[0].numel()
        nn.init.trunc_normal_(self.patches.weight, std=sqrt(1 / fan_in))
        nn.init.zeros_(self.patches.bias)  # type: ignore[arg-type]
        for name, layer in self.blocks.named_modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.normal_(layer.bias, std=1e-6 if name.endswith(("up", "down")) else 0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(self.fit(x)).flatten(2).transpose(1, 2)  # (n, t - 1, d)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[:, 0]))  # (n, k)


OUTSIDE = {
    "conv_proj.": "patches.",
    "class_token": "class_token",
    "encoder.pos_embedding": "positions",
    "encoder.ln.": "norm.",
    "heads.head.": "head.",
}
INSIDE = {
    "self_attention.out_proj.": "out.",
    "mlp.0.": "up.",
    "mlp.3.": "down.",
    "mlp.linear_1.": "up.",  # before torchvision 0.12
    "mlp.linear_2.": "down.",
}
LAYER = re.compile(r"encoder\.layers\.encoder_layer_(\d+)\.")


def plainly_spelt(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's state dict of a ViT by the names here, `in_proj` split into q, k and v.

    Names that are not torchvision's stay as they are.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        layer = LAYER.match(name)
        if layer is None:
            found[_renamed(name, OUTSIDE)] = tensor
            continue
        block, own = f"blocks.{layer[1]}.", name[layer.end() :]
        if (kind := own.removeprefix("self_attention.in_proj_")) != own:
            thirds = zip("qkv", tensor.chunk(3), strict=True)  # weight (3 d, d) or bias (3 d)
            found |= {f"{block}{each}.{kind}": third for each, third in thirds}
        else:
            found[block + _renamed(own, INSIDE)] = tensor
    return found


def _renamed(name: str, names: Mapping[str, str]) -> str:
    for theirs, ours in names.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name
