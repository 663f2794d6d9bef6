"""A frozen convolution with a low-rank correction beside it."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, empty, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.adapter import Adapter
from lowrank_bench.layers.dropout import dropout_of
from lowrank_bench.layers.rank import scale_of


class ConvLoRA(Adapter):
    """y = conv(x, W0) + b + conv(drop(x), dW), with dW = s (B A).view(o, i/g, k, k).

    x (n, i, h, w), W0 (o, i/g, k, k), A (r k, i k), B (o/g k, r k), g groups; s as in LoRALinear.
    B A has rank r k at most, as the matrix (o/g k, i k) whose entries, row by row, are those of
    the weight. That view is no product of two convolutions, so the correction is formed and
    added to the weight; only a kernel of one pixel is taken through the factors, as one
    convolution to r channels and one back.

    Source: Hu 2021, arXiv 2106.09685, whose code has it (loralib 0.1.2, ConvLoRA); the paper
    has linear layers alone.
    Differs: dropout acts on the input of the correction, where loralib accepts it and drops
    nothing; no merging inside train() and eval().
    Raises: ConfigError as LoRALinear, and for a kernel that is not square.
    """

    domain = "conv_adapter"
    roles: ClassVar = {"A": "lora_A", "B": "lora_B"}
    base: nn.Conv2d  # type: ignore[assignment]

    def __init__(
        self,
        base: nn.Conv2d,
        rank: int,
        alpha: float,
        dropout: float,
        rank_stabilized: bool = False,
    ) -> None:
        super().__init__(base)  # type: ignore[arg-type]
        self.rank, self.alpha = rank, alpha
        self.scale = scale_of(rank, alpha, rank_stabilized)
        k, wide = base.kernel_size
        if k != wide:
            raise ConfigError(
                f"method.targets: a kernel of {k} x {wide} ({base}) has no low-rank correction "
                "of this form, which needs a square one; leave such layers out"
            )
        self.inner_rank = rank * k
        o = base.out_channels // base.groups
        self.A = nn.Parameter(empty(rank * k, base.in_channels * k))  # (r k, i k)
        self.B = nn.Parameter(empty(o * k, rank * k))  # (o/g k, r k)
        self.dropout = dropout_of(dropout)
        self.is_pointwise = k == base.groups == 1 and base.padding in ((0, 0), "valid", "same")

    @property
    def in_features(self) -> int:
        """The inputs of one output, i/g k k."""
        return self.base.weight[0].numel()

    @property
    def out_features(self) -> int:
        return self.base.out_channels

    def forward(self, x: Tensor) -> Tensor:
        if self.is_pointwise:
            A, B = self.A[:, :, None, None], self.B[:, :, None, None]
            h = F.conv2d(self.dropout(x), A, stride=self.base.stride)  # (n, r, h', w')
            return self.base(x) + F.conv2d(h * self.scale, B)
        if isinstance(self.dropout, nn.Identity) or not self.training:
            return self._convolved(x, self.effective_weight(), self.base.bias)
        return self.base(x) + self._convolved(self.dropout(x), self._correction(), None)

    def _convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """With the base's stride, padding, dilation and groups."""
        return self.base._conv_forward(x, weight, bias)

    def _correction(self) -> Tensor:
        """dW (o, i/g, k, k)."""
        return (self.scale * (self.B @ self.A)).view_as(self.base.weight)

    def effective_weight(self) -> Tensor:
        """The kernel (o, i/g, k, k) of the same map, dropout aside."""
        weight = self.base.weight
        matrix = torch.addmm(self.as_matrix(weight), self.B, self.A, alpha=self.scale)
        return matrix.view_as(weight)

    def as_matrix(self, weight: Tensor) -> Tensor:
        return weight.reshape(len(self.B), self.A.shape[1])

    def factors(self) -> tuple[Tensor, Tensor, float]:
        return self.B, self.A, self.scale

    @torch.no_grad()
    def reset_(self) -> None:
        self.B.zero_()

    def extra_repr(self) -> str:
        return f"rank={self.rank}, alpha={self.alpha:g}, scale={self.scale:g}"
