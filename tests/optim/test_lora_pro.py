from collections.abc import Callable
from functools import partial
from math import sqrt
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from lowrank_bench.build import build
from lowrank_bench.door import load_method
from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.lora import LoRALinear
from lowrank_bench.method import Method
from lowrank_bench.optim.lora_pro import LoRAPro
from lowrank_bench.testing import Case, Tower, state_survives_a_checkpoint

SHAPES = {"first": (6, 9), "second": (9, 6), "third": (6, 6), "fourth": (6, 9)}  # (in, out)
BETAS, EPS, LR = (0.9, 0.999), 1e-8, 1e-3
PLAIN = partial(SGD, lr=LR)


def adapted(b_std: float = 1.0, dtype: torch.dtype = torch.float64) -> nn.ModuleDict:
    """Tall, wide and square layers, two of one shape, each with a scale of its own."""
    torch.manual_seed(0)
    model = nn.ModuleDict()
    for alpha, (name, (in_features, out_features)) in enumerate(SHAPES.items(), 4):
        layer = LoRALinear(nn.Linear(in_features, out_features), 3, alpha, dropout=0)
        layer.base.requires_grad_(False)
        nn.init.normal_(layer.A)
        nn.init.normal_(layer.B, std=b_std)
        model[name] = layer
    return model.to(dtype)


def lora_pro(
    model: nn.Module, moments: Any, *, inner: Callable[..., Optimizer] = PLAIN, **more: Any
) -> LoRAPro:
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    settings = {"betas": BETAS, "eps": EPS, "delta": 0.0, "bias_offset": False} | more
    trained = [p for p in model.parameters() if p.requires_grad]
    return LoRAPro(inner(trained), model, names, 0, moments=moments, **settings)


def layers(model: nn.Module) -> dict[str, Any]:
    return dict(model.named_children())


def give_gradients(model: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """The factors' gradients for a random G (m, n) of each layer; returns those."""
    generator, dense = torch.Generator().manual_seed(seed), {}
    for name, layer in layers(model).items():
        G = torch.randn(layer.base.weight.shape, generator=generator).to(layer.B)
        layer.A.grad = (layer.scale * layer.B.T @ G).detach()
        layer.B.grad = (layer.scale * G @ layer.A.T).detach()
        dense[name] = G
    return dense


def closed(layer: Any, G: Tensor) -> Tensor:  # noqa: N803
    """P_B G + (I - P_B) G P_A"""
    A, B = layer.A.detach(), layer.B.detach()
    P_B, P_A = B @ torch.linalg.pinv(B), torch.linalg.pinv(A) @ A
    return P_B @ G + G @ P_A - P_B @ G @ P_A


def solved(layer: Any, G: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N803
    """gh_A and gh_B as least squares: of all that give the closed form, the closest to g."""
    A, B, s = layer.A.detach(), layer.B.detach(), layer.scale
    (m, r), n = B.shape, A.shape[1]
    eye_m, eye_n = torch.eye(m).to(G), torch.eye(n).to(G)
    forward = torch.cat([torch.kron(B, eye_n), torch.kron(eye_m, A.T.contiguous())], 1) * s
    g = torch.cat([(s * B.T @ G).flatten(), (s * G @ A.T).flatten()])
    missing = closed(layer, G).flatten() - forward @ g
    x = g + torch.linalg.pinv(forward) @ missing
    return x[: r * n].view(r, n), x[r * n :].view(m, r)


# Adjusting alone


def test_the_adjusted_gradients_are_the_closest_whose_product_is_the_equivalent_one() -> None:
    model = adapted()
    dense = give_gradients(model)
    expected = {name: solved(layer, dense[name]) for name, layer in layers(model).items()}
    lora_pro(model, "none").step()
    for name, layer in layers(model).items():
        torch.testing.assert_close((layer.A.grad, layer.B.grad), expected[name])


def test_the_inner_rule_steps_by_them_once() -> None:
    model = adapted()
    give_gradients(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    lora_pro(model, "none").step()
    for name, p in model.named_parameters():
        if p.grad is not None:
            torch.testing.assert_close(p.detach(), before[name] - LR * p.grad)


def test_it_goes_downhill_to_first_order() -> None:
    for seed in range(5):
        model = adapted(b_std=10.0 ** (1 - seed))
        give_gradients(model, seed)
        plain = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        optimizer = lora_pro(model, "none")
        optimizer.step()
        for name in layers(model):
            descent = sum(
                (plain[f"{name}.{f}"] * model.get_parameter(f"{name}.{f}").grad).sum()  # type: ignore[operator]
                for f in "AB"
            )
            assert descent > 0
        assert optimizer.receipts(model)["descent"]["ok"]


def test_it_keeps_no_state_and_leaves_what_is_no_factor() -> None:
    model = adapted()
    bias = layers(model)["first"].base.bias.requires_grad_(True)
    give_gradients(model)
    bias.grad = torch.ones_like(bias)
    optimizer = lora_pro(model, "none")
    optimizer.step()
    assert not any(optimizer.state.values())
    assert torch.equal(bias.grad, torch.ones(9).double())


# Adam's moments of the equivalent gradient


@pytest.mark.parametrize("bias_offset", [False, True])
def test_with_moments_it_is_adam_on_the_equivalent_gradient(bias_offset: bool) -> None:
    """Written out layer by layer, with the adjustment as least squares."""
    model, twin = adapted(), adapted()
    optimizer = lora_pro(model, "adam", bias_offset=bias_offset)
    m = {name: torch.zeros(o, i).double() for name, (i, o) in SHAPES.items()}
    v = {name: torch.zeros(o, i).double() for name, (i, o) in SHAPES.items()}
    for t in range(1, 8):
        dense = give_gradients(model, t)
        optimizer.step()
        for name, layer in layers(twin).items():
            g = closed(layer, dense[name])
            m[name] = BETAS[0] * m[name] + (1 - BETAS[0]) * g
            v[name] = BETAS[1] * v[name] + (1 - BETAS[1]) * g**2
            count = t + bias_offset
            m_hat, v_hat = m[name] / (1 - BETAS[0] ** count), v[name] / (1 - BETAS[1] ** count)
            gh_A, gh_B = solved(layer, m_hat / (v_hat.sqrt() + EPS))
            layer.A.data -= LR * gh_A
            layer.B.data -= LR * gh_B
        for name, p in model.named_parameters():
            torch.testing.assert_close(p, twin.get_parameter(name), rtol=1e-7, atol=1e-9)


def test_the_references_count_makes_the_first_step_0_744_of_adams() -> None:
    sizes = []
    for bias_offset in (True, False):
        model = adapted()
        give_gradients(model)
        lora_pro(model, "adam", bias_offset=bias_offset).step()
        sizes.append(layers(model)["first"].B.grad.norm())
    ratio = float(sizes[0] / sizes[1])
    expected = sqrt(1 - BETAS[1] ** 2) / (1 - BETAS[0] ** 2) * (1 - BETAS[0]) / sqrt(1 - BETAS[1])
    assert ratio == pytest.approx(expected, rel=1e-6)
    assert ratio == pytest.approx(0.744, abs=1e-3)


def test_what_is_no_factor_gets_adams_direction() -> None:
    model, twin = adapted(), nn.Parameter(torch.zeros(9, dtype=torch.float64))
    bias = layers(model)["first"].base.bias.requires_grad_(True)
    bias.data.zero_()
    optimizer, adam = lora_pro(model, "adam"), torch.optim.Adam([twin], lr=LR)
    for seed in range(5):
        give_gradients(model, seed)
        twin.grad = torch.randn(9, generator=torch.Generator().manual_seed(seed)).double()
        bias.grad = twin.grad.clone()
        optimizer.step()
        adam.step()
        torch.testing.assert_close(bias.detach(), twin.detach())


def test_the_first_step_from_a_b_of_zero_is_finite_and_leaves_a() -> None:
    for delta in (0.0, 1e-8):
        model = adapted(b_std=0, dtype=torch.float32)
        before = {name: layer.A.detach().clone() for name, layer in layers(model).items()}
        give_gradients(model)
        lora_pro(model, "adam", delta=delta).step()
        for name, layer in layers(model).items():
            assert torch.equal(layer.A, before[name])
            assert 0 < layer.B.abs().max() < 100 * LR


def test_a_layer_without_a_gradient_is_passed_over() -> None:
    model = adapted()
    first, fourth = layers(model)["first"], layers(model)["fourth"]  # of one shape
    expected = solved(fourth, give_gradients(model)["fourth"])
    first.A.grad = first.B.grad = None
    before = first.B.detach().clone()
    lora_pro(model, "none").step()
    assert torch.equal(first.B, before)
    torch.testing.assert_close((fourth.A.grad, fourth.B.grad), expected)


def test_autocast_does_not_lower_the_precision() -> None:
    results = []
    for enabled in (False, True):
        model = adapted(dtype=torch.float32)
        give_gradients(model)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            lora_pro(model, "adam").step()
        results.append(layers(model)["first"].B.detach().clone())
    assert torch.equal(*results)


@pytest.mark.parametrize("moments", ["adam", "none"])
def test_a_run_that_diverged_is_left_to_the_loss_and_fails_its_receipt(moments: str) -> None:
    model = adapted()
    optimizer = lora_pro(model, moments)
    give_gradients(model)
    optimizer.step()
    assert optimizer.receipts(model)["descent"]["ok"]
    with torch.no_grad():
        layers(model)["first"].B[0, 0] = torch.nan
    give_gradients(model)
    optimizer.step()
    assert layers(model)["first"].B.isnan().any()
    assert layers(model)["fourth"].B.isfinite().all()  # of one stack
    assert not optimizer.receipts(model)["descent"]["ok"]


# The recipe


@pytest.mark.parametrize("moments", ["adam", "none"])
def test_a_resumed_run_equals_one_that_was_not(moments: str) -> None:
    state_survives_a_checkpoint(Case("lora_pro", [f"method.transform.moments={moments}"]))


@pytest.mark.parametrize(("moments", "elements"), [("adam", 802_816), ("none", 0)])
def test_the_moments_are_of_the_size_of_the_weight(moments: str, elements: int) -> None:
    method = load_method("lora_pro", ["rank=8", "lr=1e-3", f"method.transform.moments={moments}"])
    model = method.apply(nn.Sequential(nn.Linear(784, 512, bias=False)))
    optimizer = method.optimizer(model)
    model(torch.randn(2, 784)).square().sum().backward()
    optimizer.step()
    sizes = [v.numel() for s in optimizer.state.values() for k, v in s.items() if k != "step"]
    assert sum(sizes) == elements
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 10_368


def test_an_experiment_that_changes_the_inner_rule_leaves_the_transform(
    composed: Callable[..., DictConfig],
) -> None:
    cfg = composed("experiment=founding", "method=lora_pro", "rank=2")
    method = Method(**build(cfg.method, "method"))
    optimizer = method.optimizer(method.apply(nn.ModuleDict({"head": nn.Linear(20, 20)})))
    assert isinstance(optimizer, LoRAPro)
    assert isinstance(optimizer.inner, SGD)


def test_gradients_of_all_that_learns_live_on_after_the_step() -> None:
    training = Case("lora_pro").training().advance(3)
    for p in training.model.parameters():
        if p.requires_grad:
            assert p.grad is not None and p.grad.any()


# Mistakes

LORA_PRO = "method/transform=lora_pro"


@pytest.mark.parametrize(
    ("recipe", "overrides", "complaint"),
    [
        ("lora_pro", ["method/optimizer=adamw"], r"lora_pro: .*method\.optimizer=AdamW"),
        ("lora_pro", ["method/optimizer=muon"], r"lora_pro: .*method\.optimizer=MuonAdamW"),
        ("lora_pro", ["method/optimizer=lora_plus"], r"lora_pro: .*method\.optimizer=AdamW"),
        ("lora_pro", ["method.transform.moments=some"], "moments=some: must be adam or none"),
        ("lora_pro", ["method.transform.betas=[0.9,1]"], r"betas=\[0\.9, 1\]: must be two"),
        ("lora_pro", ["method.trainable=['*.B']"], r"'wide\.A' is frozen.*transform=lora_fa"),
        ("full", ["method/optimizer=sgd", LORA_PRO], "lora_pro: no target layer has LoRA factors"),
        ("vera", ["method/optimizer=sgd", LORA_PRO], "lora_pro: no target layer has LoRA factors"),
    ],
)
def test_what_cannot_go_together_is_refused(
    recipe: str, overrides: list[str], complaint: str
) -> None:
    method = load_method(recipe, ["rank=2", *overrides])
    with pytest.raises(ConfigError, match=complaint):
        method.optimizer(method.apply(Tower()))
