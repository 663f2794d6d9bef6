"""Our Vision Transformer is torchvision's, and every layer of it can be adapted."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import VisionTransformer
from trained import moved, trained, trains

from lowrank_bench.errors import ConfigError
from lowrank_bench.models.checkpointing import checkpoint_activations
from lowrank_bench.models.vit import ViT
from lowrank_bench.prepare import build_model, prepare

Compose = Callable[..., DictConfig]
SMALL: dict[str, Any] = {
    "in_shape": (3, 32, 32),
    "num_classes": 7,
    "patch_size": 8,
    "width": 48,
    "depth": 3,
    "heads": 4,
    "mlp_width": 96,
}
SIZES: dict[str, dict[str, Any]] = {
    "small": SMALL,
    # ViT-B/16's shape but for its depth
    "b_16": {
        "in_shape": (3, 224, 224),
        "num_classes": 1000,
        "patch_size": 16,
        "width": 768,
        "depth": 2,
        "heads": 12,
        "mlp_width": 3072,
    },
}
NARROW = ("model=vit", "data=digits", "model.width=16", "model.depth=2", "model.mlp_width=24")


def small(**changed: Any) -> ViT:
    return ViT(**{**SMALL, **changed})


@cache
def torchvisions(size: str) -> VisionTransformer:
    """With every parameter random: torchvision's head and biases begin at zero."""
    torch.manual_seed(0)
    s = SIZES[size]
    model = VisionTransformer(
        image_size=s["in_shape"][1],
        patch_size=s["patch_size"],
        num_layers=s["depth"],
        num_heads=s["heads"],
        hidden_dim=s["width"],
        mlp_dim=s["mlp_width"],
        num_classes=s["num_classes"],
    )
    for p in model.parameters():
        nn.init.normal_(p, 1 if p.ndim == 1 else 0, 0.02)
    return model.eval()


def saved(size: str, path: Path) -> str:
    state = torchvisions(size).state_dict()
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return str(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("size", SIZES)
def test_logits_are_torchvisions_on_its_weights(tmp_path: Path, size: str, suffix: str) -> None:
    weights = saved(size, tmp_path / f"vit{suffix}")
    model = ViT(**SIZES[size], weights=weights, load_weights=True)
    x = torch.randn(2, *SIZES[size]["in_shape"])
    with torch.no_grad():
        ours, theirs = model(x), torchvisions(size)(x)
    assert float(theirs.std()) > 0.1
    assert float((ours - theirs).abs().max()) <= 1e-5
    assert sum(p.numel() for p in model.parameters()) == sum(
        p.numel() for p in torchvisions(size).parameters()
    )


def test_gradients_are_torchvisions(tmp_path: Path) -> None:
    model = small(weights=saved("small", tmp_path / "vit.pth"), load_weights=True)
    theirs = deepcopy(torchvisions("small")).train()
    x = torch.randn(4, 3, 32, 32)
    for net in (model, theirs):
        net(x).square().sum().backward()
    attention: Any = theirs.encoder.layers.get_submodule("encoder_layer_1.self_attention")
    block: Any = model.blocks[1]
    split = torch.cat([layer.weight.grad for layer in (block.q, block.k, block.v)])
    for found, expected in (
        (split, attention.in_proj_weight.grad),
        (block.out.weight.grad, attention.out_proj.weight.grad),
        (model.positions.grad, theirs.encoder.pos_embedding.grad),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_files_of_old_torchvision_and_our_own_are_read(tmp_path: Path) -> None:
    model = small(weights=saved("small", tmp_path / "vit.pth"), load_weights=True)
    old = {
        name.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"): tensor
        for name, tensor in torchvisions("small").state_dict().items()
    }
    for name, state in {"old": old, "own": model.state_dict()}.items():
        torch.save(state, path := tmp_path / f"{name}.pth")
        again = small(weights=str(path), load_weights=True)
        for key, tensor in again.state_dict().items():
            assert torch.equal(tensor, model.state_dict()[key])


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"patch_size": 5}, "model.patch_size=5: must divide the sides of images of 32 x 32"),
        ({"in_shape": (3, 32, 30)}, "model.patch_size=8: must divide .* 32 x 30 pixels; or say"),
        ({"heads": 5}, "model.heads=5: must divide model.width=48"),
        ({"depth": 0}, "model.depth=0: must be a positive integer"),
        ({"mlp_width": "x"}, "model.mlp_width=x: must be a positive integer"),
        ({"load_weights": True}, "model.weights=null: base=from_model begins with"),
        ({"load_weights": True, "weights": "no/x.pth"}, "model.weights=no/x.pth: there is no su"),
        ({"load_weights": True, "weights": "IMAGENET1K_V1"}, "publishes none for this model"),
        ({"weights": "x.safetensors"}, "model.weights=x.safetensors: would not be loaded; say"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(changed: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line) as error:
        small(**changed)
    assert "\n" not in str(error.value)


def test_weights_for_images_of_another_size_are_refused(tmp_path: Path) -> None:
    weights = saved("small", tmp_path / "vit.pth")
    line = r"'positions' is \(1, 17, 48\), in this model \(1, 26, 48\)"
    with pytest.raises(ConfigError, match=line):
        small(in_shape=(3, 40, 40), weights=weights, load_weights=True)
    resized = {"in_shape": (1, 28, 28), "channels": 3, "image_size": 32}
    model = small(**resized, weights=weights, load_weights=True)
    assert model(torch.randn(2, 1, 28, 28)).shape == (2, 7)


def with_weights(composed: Compose, tmp_path: Path, *overrides: str) -> DictConfig:
    """digits as 32 x 32 colour images, for the small network of torchvision's."""
    sizes = ["patch_size=8", "width=48", "depth=3", "heads=4", "mlp_width=96", "channels=3"]
    weights = saved("small", tmp_path / "vit.safetensors")
    given = [f"model.{each}" for each in (*sizes, "image_size=32", f"weights={weights}")]
    return composed("model=vit", "base=from_model", "data=digits", *given, *overrides)


def test_a_fresh_head_is_random_and_the_rest_is_the_files(
    composed: Compose, tmp_path: Path
) -> None:
    cfg = with_weights(composed, tmp_path, "base.head=fresh")
    prepared = prepare(cfg)
    assert prepared.plain["head.weight"].shape == (10, 48)
    theirs = torchvisions("small").state_dict()
    assert torch.equal(prepared.plain["norm.weight"], theirs["encoder.ln.weight"])
    assert {"head.weight", "head.bias"} <= trains(prepared)
    assert not {"norm.weight", "positions"} & trains(prepared)  # only from scratch


@pytest.mark.parametrize("rule", ["kept", "frozen"])
def test_a_kept_head_must_have_the_classes_of_the_data(
    composed: Compose, tmp_path: Path, rule: str
) -> None:
    with pytest.raises(ConfigError, match=rf"base.head={rule} would keep it, say base.head=fre"):
        prepare(with_weights(composed, tmp_path, f"base.head={rule}"))


def layers(*names: str) -> list[str]:
    return [f"blocks.{i}.{name}" for i in range(2) for name in names]


PRESETS = {
    "attention": layers("q", "k", "v", "out"),
    "mlp": layers("up", "down"),
    "all-linear": layers("q", "k", "v", "out", "up", "down"),
    "qv": layers("q", "v"),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_hits_its_layers_and_they_learn(composed: Compose, preset: str) -> None:
    cfg = composed(*NARROW, "method=lora", "rank=2", "lr=0.01", f"method.targets={preset}")
    prepared, began, losses = trained(cfg)
    assert prepared.method.targets == PRESETS[preset]
    factors = {f"{name}.{factor}" for name in PRESETS[preset] for factor in "AB"}
    others = {name for name in trains(prepared) if not name.startswith("blocks.")}
    norms = {name for name in trains(prepared) if ".ln_" in name}
    assert trains(prepared) == factors | others | norms
    assert others == {"class_token", "positions"} | {
        f"{name}.{kind}" for name in ("patches", "norm", "head") for kind in ("weight", "bias")
    }
    assert moved(prepared, began) == trains(prepared)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("recipe", ["full", "dora", "pissa", "lowrank", "galore", "lora_ga"])
def test_methods_of_each_kind_train_it(composed: Compose, recipe: str) -> None:
    prepared, began, losses = trained(composed(*NARROW, f"method={recipe}", "rank=2", "lr=0.01"))
    assert set(prepared.method.targets) == set(PRESETS["all-linear"])
    assert moved(prepared, began) == trains(prepared)
    assert losses[-1] < losses[0]


def test_an_adapted_output_projection_is_used(composed: Compose) -> None:
    """torchvision's attention would read the weight of a replaced out_proj and bypass the rest."""
    cfg = composed(*NARROW, "method=lora", "rank=2", "method.targets=['blocks.0.out']")
    data, model, *_ = prepare(cfg)
    x, _ = data.train.fetch(slice(0, 4))
    with torch.no_grad():
        before = model(x)
        nn.init.normal_(model.get_submodule("blocks.0.out").B)  # type: ignore[arg-type]
        assert float((model(x) - before).abs().max()) > 1e-3


@pytest.mark.parametrize("recipe", ["full", "lora"])
def test_checkpointed_blocks_give_the_same_gradients(composed: Compose, recipe: str) -> None:
    cfg = composed(*NARROW, f"method={recipe}", "rank=2")

    def gradients(*, checkpointed: bool) -> tuple[dict[str, Tensor], int]:
        data, model, *_ = prepare(cfg)
        x, y = data.train.fetch(slice(0, 16))
        if checkpointed:
            checkpoint_activations(model, cfg.model.blocks)
        calls: list[int] = []
        norm = model.get_submodule("blocks.0.ln_1")
        norm.register_forward_hook(lambda *_: calls.append(1))
        data.objective.mean(model(x), y).backward()
        return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}, len(calls)

    (plain, once), (again, twice) = gradients(checkpointed=False), gradients(checkpointed=True)
    assert (once, twice) == (1, 2)
    assert plain.keys() == again.keys()
    assert all(torch.equal(plain[name], again[name]) for name in plain)


def test_the_packaged_b_16_has_its_published_size(composed: Compose) -> None:
    cfg = composed("model=vit_b_16", "data=digits", "data.num_classes=1000")
    with torch.device("meta"):
        model = build_model(cfg)
    assert sum(p.numel() for p in model.parameters()) == 86_567_656  # torchvision's table
    assert model(torch.zeros(2, 1, 8, 8, device="meta")).shape == (2, 1000)


def test_it_starts_near_the_paper_s_scales() -> None:
    torch.manual_seed(0)
    model = small()
    block: Any = model.blocks[0]
    assert float(block.q.weight.detach().abs().max()) <= (6 / (48 + 48)) ** 0.5
    assert not block.q.bias.detach().any()
    assert 0 < float(block.up.bias.detach().abs().max()) < 1e-5
    assert model.head.weight.detach().any()  # else nothing behind it would learn at first
