from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from lowrank_bench.build import build
from lowrank_bench.door import load_method
from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.lora import LoRALinear
from lowrank_bench.method import Method
from lowrank_bench.optim.adamw_hf import AdamWHF
from lowrank_bench.optim.lora_fa import LoRAFA
from lowrank_bench.testing import Case, Tower, state_survives_a_checkpoint

SHAPES = {"first": (6, 9), "second": (9, 6), "third": (6, 6), "fourth": (6, 9)}  # (in, out)
PLAIN = partial(SGD, lr=1.0)


def adapted(rank: int = 3, alpha: float = 6, dtype: torch.dtype = torch.float64) -> nn.ModuleDict:
    """Tall, wide and square layers of LoRA with an A that is frozen, two of one shape."""
    torch.manual_seed(0)
    model = nn.ModuleDict()
    for name, (in_features, out_features) in SHAPES.items():
        layer = LoRALinear(nn.Linear(in_features, out_features), rank, alpha, dropout=0)
        nn.init.normal_(layer.A)
        nn.init.normal_(layer.B)
        model[name] = layer.requires_grad_(False)
        layer.B.requires_grad_(True)
    return model.to(dtype)


def lora_fa(model: nn.Module, inner: Callable[..., Optimizer] = PLAIN) -> LoRAFA:
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    return LoRAFA(
        inner([p for p in model.parameters() if p.requires_grad]), model, names, 0, delta=1e-8
    )


def layers(model: nn.Module) -> dict[str, Any]:
    return dict(model.named_children())


def give_gradients(model: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """g_B = s G A^T for a random G (m, n) of each layer; returns those."""
    generator, dense = torch.Generator().manual_seed(seed), {}
    for name, layer in layers(model).items():
        dense[name] = torch.randn(layer.base.weight.shape, generator=generator).to(layer.B)
        layer.B.grad = layer.scale * dense[name] @ layer.A.T
    return dense


def moves(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """What one step does to the weights, turned around."""
    before = {name: layer.effective_weight().clone() for name, layer in layers(model).items()}
    optimizer.step()
    return {name: before[name] - layer.effective_weight() for name, layer in layers(model).items()}


def test_the_step_moves_the_weight_by_its_gradient_projected_on_the_rows_of_a() -> None:
    model = adapted()
    dense = give_gradients(model)
    for name, move in moves(model, lora_fa(model)).items():
        A = layers(model)[name].A
        onto = torch.linalg.pinv(A) @ A  # (n, n), the projection on the rows of A
        torch.testing.assert_close(move, dense[name] @ onto, rtol=1e-6, atol=1e-6)


def test_what_is_learned_stays_in_the_rows_of_a_which_never_changes() -> None:
    training = Case("lora_fa", ["method.head=null"]).training()
    start = {name: layer.A.clone() for name, layer in training.layers().items()}  # type: ignore[attr-defined]
    for name, layer in training.advance(8).layers().items():
        assert isinstance(layer, LoRALinear)
        assert torch.equal(layer.A, start[name])
        learned = (layer.effective_weight() - layer.base.weight).double()
        assert learned.norm() > 0.01
        A = layer.A.double()
        outside = learned - learned @ torch.linalg.pinv(A) @ A
        assert outside.norm() < 1e-6 * layer.base.weight.norm()


def test_with_an_orthonormal_a_and_scale_1_it_is_the_first_version() -> None:
    model = adapted(rank=3, alpha=3)
    for layer in layers(model).values():
        layer.A.copy_(torch.linalg.qr(layer.A.T)[0].T)
    give_gradients(model)
    plain = {name: layer.B.grad.clone() for name, layer in layers(model).items()}
    lora_fa(model).step()
    for name, layer in layers(model).items():
        torch.testing.assert_close(layer.B.grad, plain[name], rtol=1e-7, atol=1e-7)


def test_an_a_without_full_row_rank_gives_a_finite_step() -> None:
    model = adapted(dtype=torch.float32)
    for layer in layers(model).values():
        layer.A[1] = layer.A[0]
    dense = give_gradients(model)
    for name, move in moves(model, lora_fa(model)).items():
        A = layers(model)[name].A
        onto = torch.linalg.pinv(A) @ A
        torch.testing.assert_close(move, dense[name] @ onto, rtol=1e-4, atol=1e-4)


def test_the_inverse_is_computed_once_an_a(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    pinv = torch.linalg.pinv
    monkeypatch.setattr(
        torch.linalg, "pinv", lambda x, **rest: asked.append(len(x)) or pinv(x, **rest)
    )
    model = adapted()
    optimizer = lora_fa(model)
    for _ in range(3):
        give_gradients(model)
        optimizer.step()
    assert sorted(asked) == [1, 1, 2]  # layers of one shape together
    layers(model)["first"].A.mul_(2)
    give_gradients(model)
    optimizer.step()
    assert sorted(asked) == [1, 1, 2, 2]


def test_an_a_that_changed_is_seen_and_reported() -> None:
    model = adapted()
    optimizer = lora_fa(model)
    give_gradients(model)
    optimizer.step()
    assert optimizer.receipts(model)["A_frozen"]["ok"]
    layers(model)["second"].A.mul_(2)
    dense = give_gradients(model)
    A = layers(model)["second"].A
    move = moves(model, optimizer)["second"]
    expected = dense["second"] @ torch.linalg.pinv(A) @ A
    torch.testing.assert_close(move, expected, rtol=1e-6, atol=1e-6)
    assert optimizer.receipts(model)["A_frozen"]["ok"] is False


def test_a_layer_without_a_gradient_is_passed_over() -> None:
    model = adapted()
    optimizer = lora_fa(model)
    for skipped in ("first", "fourth"):  # of one shape: not to be taken for each other
        give_gradients(model)
        layers(model)[skipped].B.grad = None
        other = layers(model)["fourth" if skipped == "first" else "first"]
        expected = other.B.grad @ torch.linalg.inv(other.A @ other.A.T) / other.scale**2
        before = layers(model)[skipped].B.clone()
        optimizer.step()
        assert torch.equal(layers(model)[skipped].B, before)
        torch.testing.assert_close(other.B.grad, expected, rtol=1e-6, atol=1e-6)


def test_autocast_does_not_lower_the_precision() -> None:
    results = []
    for enabled in (False, True):
        model = adapted(dtype=torch.float32)
        give_gradients(model)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            lora_fa(model).step()
        results.append(layers(model)["first"].B.clone())
    assert torch.equal(*results)


def test_the_scale_is_each_layers_own() -> None:
    model = adapted()
    for scale, layer in zip((1.0, 2.0, 3.0, 4.0), layers(model).values(), strict=True):
        layer.scale = scale
    dense = give_gradients(model)
    for name, move in moves(model, lora_fa(model)).items():
        A = layers(model)[name].A
        expected = dense[name] @ torch.linalg.pinv(A) @ A
        torch.testing.assert_close(move, expected, rtol=1e-6, atol=1e-6)


# The recipe


def test_a_resumed_run_equals_one_that_was_not() -> None:
    state_survives_a_checkpoint(Case("lora_fa"))


@pytest.mark.parametrize("without", ["method.transform=null", "~method/transform"])
def test_without_its_transform_it_is_the_first_version(without: str) -> None:
    training = Case("lora_fa", [without]).training()
    assert type(training.optimizer) is AdamWHF
    assert not any("A" in name.split(".") for name in trained(training.model))


def trained(model: nn.Module) -> list[str]:
    return [name for name, p in model.named_parameters() if p.requires_grad]


def test_an_experiment_that_changes_the_inner_rule_leaves_the_transform(
    composed: Callable[..., DictConfig],
) -> None:
    cfg = composed("experiment=founding", "method=lora_fa", "rank=2")
    method = Method(**build(cfg.method, "method"))
    optimizer = method.optimizer(method.apply(nn.ModuleDict({"head": nn.Linear(20, 20)})))
    assert isinstance(optimizer, LoRAFA)
    assert isinstance(optimizer.inner, SGD)


def test_it_holds_the_moments_of_b_alone() -> None:
    method = load_method("lora_fa", ["rank=8", "lr=1e-3"])
    model = method.apply(nn.Sequential(nn.Linear(784, 512, bias=False)))
    optimizer = method.optimizer(model)
    model(torch.randn(2, 784)).square().sum().backward()
    optimizer.step()
    sizes = [v.numel() for s in optimizer.state.values() for k, v in s.items() if k != "step"]
    assert sum(sizes) == 8_192
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 4_096


@pytest.mark.parametrize(
    ("recipe", "overrides", "complaint"),
    [
        ("lora_fa", ["method.trainable=['*.A','*.B']"], r"lora_fa: 'wide\.A' trains.*\['\*\.B'\]"),
        ("full", ["method/transform=lora_fa"], "lora_fa: no target layer has LoRA factors"),
        ("lowrank", ["method/transform=lora_fa"], "lora_fa: no target layer has LoRA factors"),
        (
            "lora_fa",
            ["method.trainable=[head.base.bias]"],
            "lora_fa: no target layer has LoRA factors of which B trains",
        ),
    ],
)
def test_what_has_no_frozen_a_beside_a_b_that_trains_is_refused(
    recipe: str, overrides: list[str], complaint: str
) -> None:
    method = load_method(recipe, ["rank=2", *overrides])
    with pytest.raises(ConfigError, match=complaint):
        method.optimizer(method.apply(Tower()))


# Parity


@pytest.mark.reference
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_the_steps_are_those_of_peft(decay: float, monkeypatch: pytest.MonkeyPatch) -> None:
    import peft
    from peft.optimizers import create_lorafa_optimizer, lorafa

    # PEFT would multiply in bfloat16 wherever the machine can.
    monkeypatch.setattr(lorafa, "is_bf16_available", lambda: False)
    monkeypatch.setattr(lorafa, "infer_device", lambda: "cpu")
    rank, alpha, lr = 3, 6, 0.05
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(SHAPES))
    torch.manual_seed(1)
    bases = nn.ModuleDict({name: nn.Linear(i, o) for name, (i, o) in SHAPES.items()})
    theirs = peft.get_peft_model(bases, config)  # type: ignore[arg-type]
    reference = create_lorafa_optimizer(theirs, rank, alpha, lr, weight_decay=decay)
    model = adapted(rank, alpha, torch.float32)
    inner = partial(AdamWHF, lr=lr, betas=(0.9, 0.999), eps=1e-6, weight_decay=decay)
    optimizer = lora_fa(model, inner)
    pairs = {}
    for name, layer in layers(model).items():
        twin: Any = theirs.get_submodule(f"base_model.model.{name}")
        pairs[name] = (layer, twin.lora_A["default"].weight, twin.lora_B["default"].weight)
        pairs[name][1].data.copy_(layer.A)
        pairs[name][2].data.copy_(layer.B)
    for update in range(13):
        give_gradients(model, seed=update)
        for layer, _, B in pairs.values():
            B.grad = layer.B.grad.clone()
        optimizer.step()
        reference.step()
        for layer, A, B in pairs.values():
            assert torch.equal(layer.A, A)
            assert (layer.B - B).norm() <= 1e-5 * B.norm()


def test_adamw_of_torch_is_another_rule() -> None:
    """So the parity above sees the flavour of Adam."""
    ends = []
    for rule in (AdamWHF, AdamW):
        model = adapted(dtype=torch.float32)
        optimizer = lora_fa(
            model, partial(rule, lr=0.05, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.1)
        )
        for update in range(13):
            give_gradients(model, seed=update)
            optimizer.step()
        ends.append(layers(model)["first"].B)
    assert (ends[0] - ends[1]).norm() > 1e-5 * ends[0].norm()
