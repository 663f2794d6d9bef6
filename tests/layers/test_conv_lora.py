"""LoRA on convolutions: loralib's numbers, the contract of a layer, and what is refused."""

from typing import Any

import loralib
import pytest
import torch
import torch.nn.functional as F
from conv_net import Net
from torch import Tensor, nn

from lowrank_bench import load_method
from lowrank_bench.callbacks.starts import dense_weights, start_receipts
from lowrank_bench.errors import ConfigError
from lowrank_bench.inits.zero_b import zero_b
from lowrank_bench.layers.conv_lora import ConvLoRA
from lowrank_bench.layers.lora import LoRALinear
from lowrank_bench.roles import role_of
from lowrank_bench.start import start

SHAPES: dict[str, dict[str, Any]] = {
    "pointwise": {"kernel_size": 1},
    "strided_pointwise": {"kernel_size": 1, "stride": 2, "bias": False},
    "padded_pointwise": {"kernel_size": 1, "padding": 1},
    "grouped_pointwise": {"kernel_size": 1, "groups": 2},
    "square": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": 3, "padding": 1, "stride": 2, "bias": False},
    "dilated": {"kernel_size": 3, "dilation": 2},
    "grouped": {"kernel_size": 3, "padding": 1, "groups": 2},
    "depthwise": {"kernel_size": 3, "groups": 4},
    "reflected": {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
}
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def conv(shape: dict[str, Any]) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(4, 8, **shape)


def filled(shape: dict[str, Any], *, rank: int = 2, dropout: float = 0) -> ConvLoRA:
    """A layer whose factors are both far from zero."""
    layer = ConvLoRA(conv(shape), rank, 3, dropout)
    nn.init.normal_(layer.A)
    nn.init.normal_(layer.B)
    return layer


def images(seed: int = 1) -> Tensor:
    return torch.randn(3, 4, 7, 7, generator=torch.Generator().manual_seed(seed))


def close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).detach().norm()) <= 1e-5 * float(expected.detach().norm())


@shapes
def test_outputs_and_gradients_are_loralibs(shape: dict[str, Any]) -> None:
    ours = filled(shape)
    theirs: Any = loralib.Conv2d(4, 8, r=2, lora_alpha=3, **shape)
    theirs.conv.load_state_dict(ours.base.state_dict())
    with torch.no_grad():
        theirs.lora_A.copy_(ours.A)
        theirs.lora_B.copy_(ours.B)
    ours.base.requires_grad_(False)
    inputs = [images().requires_grad_() for _ in range(2)]
    theirs.train()  # which returns nothing
    outputs = [layer(x) for layer, x in zip((ours, theirs), inputs, strict=True)]
    close(*outputs)
    for y in outputs:
        y.square().mean().backward()
    assert ours.A.grad is not None and ours.B.grad is not None
    close(ours.A.grad, theirs.lora_A.grad)
    close(ours.B.grad, theirs.lora_B.grad)
    close(*(x.grad for x in inputs if x.grad is not None))
    assert ours.base.weight.grad is theirs.conv.weight.grad is None
    theirs.eval()  # where loralib merges
    close(ours.effective_weight(), theirs.conv.weight)


@shapes
def test_forward_is_the_convolution_by_the_effective_weight(shape: dict[str, Any]) -> None:
    layer = filled(shape)
    dense = conv(shape)
    with torch.no_grad():
        dense.weight.copy_(layer.effective_weight())
        close(layer(images()), dense(images()))


@pytest.mark.parametrize("name", ["pointwise", "strided_pointwise"])
def test_a_kernel_of_one_pixel_never_forms_its_weight(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: ConvLoRA, *given: Any) -> Tensor:
        raise AssertionError("formed")

    for formed in ("effective_weight", "_correction", "_convolved"):
        monkeypatch.setattr(ConvLoRA, formed, never)
    filled(SHAPES[name])(images()).sum().backward()


@pytest.mark.parametrize("name", ["pointwise", "square"])
def test_dropout_acts_on_the_input_of_the_correction_in_training_alone(name: str) -> None:
    layer, plain = filled(SHAPES[name], dropout=0.5), filled(SHAPES[name])
    plain.load_state_dict(layer.state_dict())
    x = images()
    close(layer.eval()(x), plain(x))
    torch.manual_seed(3)
    dropped = layer.train()(x) - layer.base(x)
    torch.manual_seed(3)
    close(dropped, plain(y := F.dropout(x, 0.5)) - layer.base(y))
    layer.reset_()
    close(layer(x), layer.base(x))


@shapes
def test_merging_keeps_the_function(shape: dict[str, Any]) -> None:
    layer = filled(shape)
    before, weight = layer(images()), layer.effective_weight().clone()
    layer.merge_()
    assert torch.equal(layer.base.weight, weight)
    assert not layer.B.any()
    close(layer(images()), before)


@shapes
def test_the_start_is_the_base(shape: dict[str, Any]) -> None:
    layer = ConvLoRA(conv(shape), 2, 3, 0)
    start("here", layer, zero_b, seed=0)
    assert layer.start_drift is not None and layer.start_drift <= 1e-6
    bound = layer.A.shape[1] ** -0.5
    assert 0.7 * bound < float(layer.A.detach().abs().max()) <= bound


def test_a_start_elsewhere_is_refused() -> None:
    def off(layer: ConvLoRA) -> None:
        nn.init.ones_(layer.A)
        nn.init.ones_(layer.B)

    with pytest.raises(ConfigError, match=r"init=off: 'here' \(ConvLoRA\) no longer computes"):
        start("here", ConvLoRA(conv(SHAPES["square"]), 2, 3, 0), off, seed=0)


def test_the_weight_of_a_layer_must_have_the_shape_of_its_kernel() -> None:
    class Flat(ConvLoRA):
        def effective_weight(self) -> Tensor:
            return super().effective_weight().flatten(1)

    line = r"Flat at 'here': effective_weight\(\) is \(8, 36\), must be \(8, 4, 3, 3\)"
    with pytest.raises(ConfigError, match=line):
        start("here", Flat(conv(SHAPES["square"]), 2, 3, 0), zero_b, seed=0)


def trained(recipe: str, *overrides: str) -> tuple[Any, nn.Module, list[float]]:
    """A method after eight updates, its model, and the losses; what moved is checked."""
    method = load_method(recipe, ["lr=0.01", *overrides])
    torch.manual_seed(0)
    net, x, y = Net(), torch.randn(16, 2, 5, 5), torch.randint(4, (16,))
    with torch.no_grad():
        before = net(x)
    model = method.apply(net)
    with torch.no_grad():
        close(model(x), before)
    began = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = method.optimizer(model)
    schedule, losses = method.schedule(optimizer, 8), []
    for update in range(8):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        method.hooks.before_step(model, optimizer, update)
        optimizer.step()
        schedule.step()
        method.hooks.after_step(model, optimizer, update)
        method.hooks.step_end(model, optimizer, update)
        losses.append(float(loss.detach()))
    for name, p in model.named_parameters():
        merged = recipe == "relora" and name.endswith("base.weight")
        assert torch.equal(p, began[name]) is not (p.requires_grad or merged), name
    return method, model, losses


@pytest.mark.parametrize("recipe", ["lora", "rslora", "lora_plus", "lora_fa", "lora_pro"])
def test_the_methods_of_lora_train_convolutions_and_linear_layers(recipe: str) -> None:
    method, model, losses = trained(recipe, "rank=2")
    kinds = {"wide": ConvLoRA, "point": ConvLoRA, "head": LoRALinear}
    assert {name: type(model.get_submodule(name)) for name in method.targets} == kinds
    assert role_of(model, "wide.A") == "lora_A"
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(("target", "rank"), [("wide", 1), ("point", 2)])
def test_restarts_raise_the_rank_of_what_happens_to_a_kernel(target: str, rank: int) -> None:
    overrides = ["method.hooks.restarts.cycle_length=3", "method.trainable=null"]
    chosen = f"method.targets=[{target}]"
    method, model, _ = trained("relora", f"rank={rank}", chosen, *overrides)
    found = method.hooks.hooks["restarts"].receipts(model)
    assert all(each["ok"] for each in found.values())
    # Two merges and what came after: of (24, 6) by 3 at a time, of (12, 8) by 2
    assert found["rank_of_change"]["value"] == {target: 6}


def test_diagnostics_take_a_kernel_as_one_row_for_each_output() -> None:
    model = load_method("lora", ["rank=2"]).apply(Net())
    weights = dense_weights(model)
    shapes = {name: tuple(w.shape) for name, w in weights.items()}
    assert shapes == {"wide": (8, 18), "point": (12, 8), "head": (4, 12)}
    receipts = start_receipts(model, weights)
    for ratio in receipts["start_std_ratio"]["value"].values():
        assert 0.8 < ratio < 1.2  # Conv2d draws as Linear does


@pytest.mark.parametrize(("rank", "above"), [(1, False), (2, True)])
def test_a_rank_is_above_break_even_where_the_factors_outweigh_the_kernel(
    rank: int, above: bool
) -> None:
    model = load_method("lora", [f"rank={rank}", "method.targets=[wide]"]).apply(Net())
    layer: Any = model.wide
    assert (layer.A.numel() + layer.B.numel() > layer.base.weight.numel()) is above
    found = start_receipts(model, dense_weights(model))["above_break_even"]["value"]
    assert found == (["wide"] if above else [])
