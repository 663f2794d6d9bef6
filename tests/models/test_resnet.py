"""Residual networks are torchvision's, their convolutions adapt, and a frozen norm stays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from omegaconf import DictConfig
from torch import nn
from trained import moved, trained, trains

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.conv_lora import ConvLoRA
from lowrank_bench.models.resnet import BatchNorm, ResNet
from lowrank_bench.prepare import build_model, prepare

Compose = Callable[..., DictConfig]
DIGITS = ("model=resnet", "data=digits")
PLAIN: dict[str, Any] = {
    "in_shape": (3, 32, 32),
    "num_classes": 10,
    "block": "basic",
    "depth": 18,
    "stem": "imagenet",
}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def resnet(**changed: Any) -> ResNet:
    return ResNet(**{**PLAIN, **changed})


@pytest.mark.parametrize(("block", "depth"), [("basic", 18), ("basic", 34), ("bottleneck", 50)])
def test_logits_are_torchvisions_on_its_weights(tmp_path: Path, block: str, depth: int) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(f"resnet{depth}", num_classes=10)
    for m in theirs.modules():
        if isinstance(m, nn.BatchNorm2d):  # which are told apart by nothing at their start
            state = m.state_dict()
            nn.init.uniform_(state["running_mean"], -0.1, 0.1)
            nn.init.uniform_(state["running_var"], 0.8, 1.2)
    torch.save(theirs.state_dict(), path := tmp_path / "resnet.pth")
    ours = resnet(block=block, depth=depth, weights=str(path), load_weights=True)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        for mode in (False, True):
            torch.testing.assert_close(ours.train(mode)(x), theirs.train(mode)(x))
    assert all(torch.equal(t, ours.state_dict()[n]) for n, t in theirs.state_dict().items())


def test_the_small_stem_keeps_every_pixel_for_the_stages() -> None:
    seen: list[tuple[int, ...]] = []
    model = resnet(stem="small", in_shape=(1, 28, 28)).eval()
    model.layer1.register_forward_hook(lambda _, x, y: seen.append(tuple(x[0].shape)))
    assert model(torch.randn(2, 1, 28, 28)).shape == (2, 10)
    assert seen == [(2, 64, 28, 28)]
    grey = resnet(in_shape=(1, 28, 28)).eval()
    grey.layer1.register_forward_hook(lambda _, x, y: seen.append(tuple(x[0].shape)))
    grey(torch.randn(2, 1, 28, 28))
    assert seen[1] == (2, 64, 7, 7)


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"block": "dense"}, "model.block=dense: must be one of basic, bottleneck"),
        ({"depth": 50}, "model.depth=50: must be one of 18, 34 with model.block=basic; model=resn"),
        ({"stem": "big"}, "model.stem=big: must be one of imagenet, small"),
        ({"in_shape": (16,)}, "model.in_shape=\\[16\\]: must be that of images"),
        ({"load_weights": True}, "model.weights=null: base=from_model begins with"),
        ({"weights": "x.pth"}, "model.weights=x.pth: would not be loaded"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(changed: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        resnet(**changed)


def test_weights_with_another_stem_are_refused(tmp_path: Path) -> None:
    torch.save(resnet().state_dict(), path := tmp_path / "resnet.pth")
    with pytest.raises(ConfigError, match=r"'conv1.weight' is \(64, 3, 7, 7\), in this model"):
        resnet(stem="small", weights=str(path), load_weights=True)


@pytest.mark.parametrize(
    ("model", "preset", "count", "kernels"),
    [
        ("resnet", "conv", 20, {1, 3}),
        ("resnet", "pointwise", 3, {1}),
        ("resnet50", "conv", 53, {1, 3, 7}),
        ("resnet50", "pointwise", 36, {1}),
    ],
)
def test_a_preset_hits_all_kernels_of_its_kind(
    composed: Compose, model: str, preset: str, count: int, kernels: set[int]
) -> None:
    cfg = composed(f"model={model}", "data=digits", "method=lora", f"method.targets={preset}")
    cfg.model.image_size = 32 if cfg.model.image_size else None
    prepared = prepare(cfg)
    hit = [prepared.model.get_submodule(name) for name in prepared.method.targets]
    assert all(isinstance(layer, ConvLoRA) for layer in hit)
    assert {layer.base.kernel_size[0] for layer in hit if isinstance(layer, ConvLoRA)} == kernels
    assert len(hit) == count
    plain = build_model(cfg)
    convolutions = [m for m in plain.modules() if isinstance(m, nn.Conv2d)]
    assert count == sum(m.kernel_size[0] in kernels for m in convolutions)


def test_all_linear_is_no_preset(composed: Compose) -> None:
    with pytest.raises(ConfigError, match=r"targets='all-linear': the model has no such preset"):
        prepare(composed(*DIGITS, "method=lora", "method.targets=all-linear"))


@pytest.mark.parametrize("recipe", ["full", "lora", "bitfit"])
def test_methods_of_each_kind_train_it(composed: Compose, recipe: str) -> None:
    prepared, began, losses = trained(composed(*DIGITS, f"method={recipe}", "rank=2", "lr=0.003"))
    statistics = {name for name in began if name.endswith(STATISTICS)}
    assert moved(prepared, began) == trains(prepared) | statistics  # from scratch, norms train
    assert losses[-1] < losses[0]


def test_projected_gradients_train_convolutions(composed: Compose) -> None:
    narrow = "method.targets=['conv1','layer1.*.conv?','*.downsample.0']"
    cfg = composed(*DIGITS, "method=galore", "rank=2", "lr=0.003", narrow)
    prepared, began, losses = trained(cfg)
    assert trains(prepared) <= moved(prepared, began)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("recipe", ["dora", "galore"])
def test_the_head_alone_takes_whatever_linear_layers_take(composed: Compose, recipe: str) -> None:
    cfg = composed(*DIGITS, f"method={recipe}", "rank=2", "lr=0.003", "method.targets=['fc']")
    assert trained(cfg, updates=2)[0].method.targets == ["fc"]


def test_a_method_for_linear_layers_says_what_to_target(composed: Compose) -> None:
    with pytest.raises(ConfigError, match=r"adapter=DoRALinear: 'conv1' is a convolution"):
        prepare(composed(*DIGITS, "method=dora"))


def adapted(composed: Compose, tmp_path: Path, *overrides: str) -> DictConfig:
    """A base with weights, and statistics, of its own."""
    path = tmp_path / "base.pth"
    if not path.exists():
        torch.manual_seed(0)
        base = build_model(composed(*DIGITS))
        base.train()(torch.randn(64, 1, 8, 8))
        torch.save(base.state_dict(), path)
    return composed(*DIGITS, "base=from_model", f"model.weights={path}", *overrides)


@pytest.mark.parametrize("recipe", ["lora", "head", "lora_ga"])
def test_a_frozen_norm_of_a_base_keeps_its_statistics(
    composed: Compose, tmp_path: Path, recipe: str
) -> None:
    chosen = ["method.targets=['fc']"] if recipe == "lora_ga" else []
    cfg = adapted(composed, tmp_path, f"method={recipe}", "rank=2", "lr=0.003", *chosen)
    prepared, began, losses = trained(cfg)
    assert prepared.model.training
    assert moved(prepared, began) == trains(prepared)
    for name in prepared.plain:  # nor did building it, with a loss to begin at, move any
        if name.endswith(STATISTICS):
            assert torch.equal(prepared.plain[name], began[name]), name
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("recipe", ["full", "bitfit"])
def test_a_norm_that_trains_follows_the_batches(
    composed: Compose, tmp_path: Path, recipe: str
) -> None:
    prepared, began, _ = trained(adapted(composed, tmp_path, f"method={recipe}"), updates=1)
    assert {name for name in began if name.endswith(STATISTICS)} <= moved(prepared, began)


def test_a_frozen_norm_is_frozen_in_any_loop() -> None:
    norm, x = BatchNorm(3).train(), torch.randn(8, 3, 2, 2) + 5
    plain = nn.BatchNorm2d(3).train()
    assert torch.equal(norm(x), plain(x))
    assert norm.learns
    norm.requires_grad_(False)  # after train(), and without another
    before = {name: t.clone() for name, t in norm.state_dict().items()}
    assert torch.equal(norm(x), plain.eval()(x))
    assert not norm.learns
    assert all(torch.equal(t, before[name]) for name, t in norm.state_dict().items())
    norm.bias.requires_grad_(True)
    assert torch.equal(norm(x), plain.train()(x))


def test_a_batch_with_one_value_a_channel_is_normalised_by_the_running_statistics() -> None:
    norm, x = BatchNorm(3).train(), torch.randn(1, 3, 1, 1)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        nn.BatchNorm2d(3).train()(x)
    torch.testing.assert_close(norm(x), x / (1 + norm.eps) ** 0.5)


@pytest.mark.parametrize(("key", "value"), [("accumulate", 2), ("devices", 3)])
def test_parts_of_a_batch_with_statistics_of_their_own_are_refused(
    composed: Compose, tmp_path: Path, key: str, value: int
) -> None:
    part = f"run.{key}={value}"
    with pytest.raises(ConfigError) as error:
        prepare(adapted(composed, tmp_path, "method=full", part))
    assert str(error.value) == (
        f"run.{key}={value}: 'bn1' (BatchNorm) normalises by the batch, and each part of one "
        f"would be another; say run.{key}=1, or train fewer parameters, so that it is frozen"
    )
    prepare(adapted(composed, tmp_path, "method=lora", part))  # frozen, each part is itself


def test_a_plain_norm_of_torch_s_is_refused_even_where_it_is_frozen(
    composed: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lowrank_bench.models.resnet.BatchNorm", nn.BatchNorm2d)
    with pytest.raises(ConfigError, match=r"'bn1' \(BatchNorm2d\) normalises by the batch"):
        prepare(composed(*DIGITS, "method=lora", "run.accumulate=2"))
