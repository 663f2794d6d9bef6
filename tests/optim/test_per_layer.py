import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from injected import adamw_hf, wrapped
from torch import nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.optim.apollo import Apollo
from lowrank_bench.optim.fira import Fira
from lowrank_bench.optim.galore import GaLore
from lowrank_bench.optim.projected import Projected

KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "galore": (GaLore, {"alpha": 0.25}),
    "fira": (Fira, {"alpha": 0.25, "growth": 1.01}),
    "apollo": (Apollo, {"scale": 1.0, "scale_type": "channel", "growth": 1.01}),
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 9), nn.Linear(9, 4))


def made(model: nn.Module, kind: str = "galore", *, per_layer: bool = True) -> Projected:
    cls, settings = KINDS[kind]
    names = [name for name, _ in model.named_parameters()]
    return wrapped(
        cls, model, adamw_hf(), names=names, rank=3, update_gap=4, per_layer=per_layer, **settings
    )


def loss(model: nn.Module, update: int) -> torch.Tensor:
    x = torch.randn(6, 12, generator=torch.Generator().manual_seed(update))
    return model(x).square().mean()


@pytest.mark.parametrize("kind", KINDS)
def test_the_trajectory_is_that_without(kind: str) -> None:
    models = network(), network()
    optimizers = [
        made(m, kind, per_layer=each) for m, each in zip(models, (True, False), strict=True)
    ]
    for update in range(10):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            loss(model, update).backward()
            optimizer.step()
        for p, q in zip(*(model.parameters() for model in models), strict=True):
            assert torch.equal(p, q)


def test_a_backward_pass_under_autocast_does_not_lower_the_precision_of_the_step() -> None:
    model, seen = network(), []
    optimizer = made(model)
    move = optimizer.move
    optimizer.move = lambda u: seen.append(u.R.dtype) or move(u)  # type: ignore[method-assign]
    with torch.autocast("cpu", torch.bfloat16):
        loss(model, 0).backward()
    assert seen == [torch.float32] * 3


def test_each_gradient_is_freed_when_its_parameter_has_moved() -> None:
    model = network()
    optimizer = made(model)
    before = [p.detach().clone() for p in model.parameters()]
    alive: list[int] = []

    def count(_: torch.Tensor) -> None:
        alive.append(sum(p.grad is not None for p in model.parameters()))

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(count)  # runs after ours
    loss(model, 0).backward()
    assert alive == [0] * 6
    assert not any(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    moved = [p.detach().clone() for p in model.parameters()]
    optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), moved, strict=True))


def test_a_gradient_set_by_hand_is_stepped_by_step() -> None:
    model = network()
    optimizer = made(model)
    weight = model.get_parameter("0.weight")
    before = weight.detach().clone()
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    assert not torch.equal(weight, before)


def test_gradients_are_not_accumulated() -> None:
    model = network()
    optimizer = made(model)
    loss(model, 0).backward()
    with pytest.raises(ConfigError, match=r"per_layer=true: .* second gradient"):
        loss(model, 1).backward()
    optimizer.step()
    loss(model, 2).backward()


def test_a_loss_scaler_finds_nothing_to_check() -> None:
    model = network()
    optimizer = made(model)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(loss(model, 0)).backward()  # type: ignore[union-attr]
    with pytest.raises(AssertionError, match="No inf checks"):
        scaler.step(optimizer)


def test_several_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(ConfigError, match=r"per_layer=true: .* 2 devices"):
        made(network())


def test_the_receipt_of_gradients_is_kept_where_they_are_gone() -> None:
    model = network()
    optimizer = made(model)
    assert optimizer.receipts(model)["gradient_reached"]["ok"] is False
    loss(model, 0).backward()
    optimizer.step()
    found = optimizer.receipts(model)["gradient_reached"]
    assert found == {"ok": True, "value": {"dense": True, "bias": True}, "note": ""}


def test_a_model_does_not_go_on_with_an_optimizer_that_is_gone() -> None:
    model = network()
    optimizer = made(model)
    del optimizer
    gc.collect()
    before = model.get_parameter("0.weight").detach().clone()
    loss(model, 0).backward()
    assert model.get_parameter("0.weight").grad is not None
    assert torch.equal(model.get_parameter("0.weight"), before)


@pytest.mark.parametrize("method", ["galore", "fira", "apollo"])
def test_a_run_learns_the_same_in_this_mode(fit: Callable[..., Any], method: str) -> None:
    tasks = [
        fit(f"method={method}", f"method.transform.per_layer={each}", "lr=0.01")[0]
        for each in (True, False)
    ]
    for p, q in zip(*(task.model.parameters() for task in tasks), strict=True):
        assert torch.equal(p, q)
