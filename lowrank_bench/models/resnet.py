"""Residual networks, as torchvision builds them."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet

from lowrank_bench.errors import ConfigError
from lowrank_bench.models.images import Fit
from lowrank_bench.models.pretrained import check_used, fill, read_weights

# By the kind of block, the blocks of each stage by depth
STAGES = {
    "basic": {18: [2, 2, 2, 2], 34: [3, 4, 6, 3]},
    "bottleneck": {50: [3, 4, 6, 3], 101: [3, 4, 23, 3], 152: [3, 8, 36, 3]},
}
BLOCKS = {"basic": resnet.BasicBlock, "bottleneck": resnet.Bottleneck}
STEMS = ("imagenet", "small")


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that is frozen when its parameters are.

    While its weight or bias trains it normalises by the batch, and its running statistics follow,
    as usual. With both frozen it normalises by those statistics in training too, and they stay:
    else every forward pass would change a base that a method has frozen, its trained function
    would depend on what else is in a batch, and the base could not be had back. This holds in any
    training loop, whatever train() says.

    A batch with one value a channel (an image of one pixel left over at the end of an epoch) has
    no variance, and is normalised by the running statistics.
    """

    @property
    def learns(self) -> bool:
        """Whether a batch would be normalised by its own statistics."""
        return self.training and (self.weight.requires_grad or self.bias.requires_grad)

    def forward(self, input: Tensor) -> Tensor:
        if self.learns and input.numel() > input.shape[1]:
            return super().forward(input)
        statistics = (self.running_mean, self.running_var)
        return F.batch_norm(input, *statistics, self.weight, self.bias, eps=self.eps)


class ResNet(resnet.ResNet):
    """Images (n, c, h, w) -> logits (n, k), by the head `fc`.

    `block` is basic (depth 18 or 34) or bottleneck (50, 101, 152). With `stem` small the first
    convolution is 3 x 3 with stride 1 and nothing is pooled before the stages, for images of 32
    pixels or fewer, of which torchvision's own stem, imagenet, leaves a quarter of a side.
    `channels` and `image_size` say what images are made first (images.py). With `load_weights`
    the weights are those of `weights` (pretrained.py); a head of `head_rule` fresh is random.

    Source: He 2015, arXiv 1512.03385, by torchvision 0.29 (the stride of a bottleneck is at its
    3 x 3 convolution); the small stem is common, and wider than the paper's own for CIFAR-10.
    Differs: batch normalisation is frozen when its parameters are.
    Raises: ConfigError for a depth that there is none of, and as pretrained.py.
    """

    def __init__(
        self,
        *,
        in_shape: Sequence[int],
        num_classes: int,
        block: str,
        depth: int,
        stem: str,
        channels: int | None = None,
        image_size: int | None = None,
        weights: str | None = None,
        load_weights: bool = False,
        head_rule: str = "kept",
    ) -> None:
        if block not in BLOCKS:
            raise ConfigError(f"model.block={block}: must be one of {', '.join(BLOCKS)}")
        if depth not in STAGES[block]:
            raise ConfigError(
                f"model.depth={depth}: must be one of {', '.join(map(str, STAGES[block]))} with "
                f"model.block={block}; model=resnet has 18 and 34, model=resnet50 the deeper ones"
            )
        if stem not in STEMS:
            raise ConfigError(f"model.stem={stem}: must be one of {', '.join(STEMS)}")
        fit = Fit(in_shape, channels, image_size)
        check_used(weights, load_weights)
        super().__init__(
            BLOCKS[block], STAGES[block][depth], num_classes=num_classes, norm_layer=BatchNorm
        )
        self.fit = fit
        if stem == "small" or fit.shape[0] != 3:
            k, stride = (3, 1) if stem == "small" else (7, 2)
            self.conv1 = nn.Conv2d(fit.shape[0], 64, k, stride, padding=k // 2, bias=False)
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        if stem == "small":
            self.maxpool = nn.Identity()
        if load_weights:
            state = read_weights(weights, f"resnet{depth}")
            fill(self, state, weights=weights, head="fc", rule=head_rule)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.fit(x))
