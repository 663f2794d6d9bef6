import io
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lowrank_bench.door import load_method
from lowrank_bench.errors import ConfigError
from lowrank_bench.optim.muon import MuonAdamW
from lowrank_bench.optim.roles import check_cover, groups_by_role
from lowrank_bench.testing import Case, Tower, state_survives_a_checkpoint

SETTINGS: dict[str, Any] = {
    "momentum": 0.95,
    "nesterov": True,
    "ns_steps": 5,
    "adjust_lr_fn": "match_rms_adamw",
}
MOMENTS = ("momentum_buffer", "exp_avg")
ADAMW: dict[str, Any] = {"lr": 0.003, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.2}


def tower() -> Tower:
    torch.manual_seed(0)
    return Tower()


def muon(model: nn.Module, head: str | None = "head") -> MuonAdamW:
    groups = groups_by_role(model)
    return MuonAdamW(groups, lr=0.02, weight_decay=0.1, head=head, adamw=ADAMW, **SETTINGS)


def backward(model: nn.Module, update: int) -> None:
    model.zero_grad()
    x = torch.randn(24, 16, generator=torch.Generator().manual_seed(update))
    F.cross_entropy(model(x), torch.arange(24) % 8).backward()


def equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def roles_of_rules(model: nn.Module, optimizer: Optimizer) -> dict[str, str]:
    """Which rule has each parameter; Muon's groups have a momentum."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: "muon" if "momentum" in group else "adamw"
        for group in optimizer.param_groups
        for p in group["params"]
    }


def test_hidden_matrices_are_muons_and_the_rest_is_adamws() -> None:
    model = tower()
    optimizer = muon(model)
    check_cover(optimizer, model)
    rules = roles_of_rules(model, optimizer)
    assert {name for name, rule in rules.items() if rule == "muon"} == {
        "wide.weight",
        "tall.weight",
        "square.weight",
    }
    assert {group["role"] for group in optimizer.param_groups} == {"dense", "bias"}


def test_without_a_head_every_matrix_is_muons() -> None:
    model = tower()
    assert roles_of_rules(model, muon(model, head=None))["head.weight"] == "muon"


def test_it_is_torchs_two_rules_bit_for_bit() -> None:
    ours, theirs = tower(), tower()
    matrices = [p for n, p in theirs.named_parameters() if p.ndim == 2 and n != "head.weight"]
    rest = [p for p in theirs.parameters() if all(p is not m for m in matrices)]
    one = muon(ours)
    others = [Muon(matrices, lr=0.02, weight_decay=0.1, **SETTINGS), AdamW(rest, **ADAMW)]
    for update in range(5):
        backward(ours, update)
        backward(theirs, update)
        one.step()
        for other in others:
            other.step()
        assert equal(ours, theirs)


def test_one_schedule_moves_the_rates_of_both() -> None:
    optimizer = muon(tower())
    schedule = LambdaLR(optimizer, lambda update: 1 / (update + 1))
    optimizer.step()
    schedule.step()
    found = {group["lr"] for group in optimizer.param_groups}
    assert found == {0.01, 0.0015}


def test_a_saved_state_is_loaded_into_both() -> None:
    whole = tower()
    one = muon(whole)
    for update in range(3):
        backward(whole, update)
        one.step()
    file = io.BytesIO()
    torch.save((whole.state_dict(), one.state_dict()), file)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    resumed = tower()
    other = muon(resumed)
    other.load_state_dict(state)
    resumed.load_state_dict(weights)
    assert len(other.state) == len(list(resumed.parameters()))
    for update in range(3, 6):
        for model, optimizer in ((whole, one), (resumed, other)):
            backward(model, update)
            optimizer.step()
    assert equal(whole, resumed)


@pytest.mark.parametrize("recipe", ["full", "lora", "lowrank"])
def test_a_resumed_run_equals_one_that_was_not(recipe: str) -> None:
    state_survives_a_checkpoint(Case(recipe, ["method/optimizer=muon", "method.head=head"]))


def test_autocast_does_not_change_it() -> None:
    ends = []
    for enabled in (False, True):
        model = tower()
        optimizer = muon(model)
        backward(model, 0)
        with torch.autocast("cpu", torch.float16, enabled=enabled):
            optimizer.step()
        ends.append(model)
    assert equal(*ends)


def test_a_step_of_muon_is_a_fifth_of_the_learning_rate_as_those_of_adamw_mostly_are() -> None:
    """So that both share one; five iterations leave singular values between 0.7 and 1.2."""
    model = tower()
    groups = groups_by_role(model)
    optimizer = MuonAdamW(groups, lr=0.01, weight_decay=0, head="head", adamw=ADAMW, **SETTINGS)
    for name in ("wide.weight", "tall.weight", "square.weight"):
        p = model.get_parameter(name)
        before = p.detach().clone()
        p.grad = torch.randn_like(p)
        optimizer.step()
        size = float((p.detach() - before).square().mean().sqrt())
        assert size == pytest.approx(0.2 * 0.01, rel=0.3), name
        p.grad = None


def test_a_method_without_matrices_is_refused() -> None:
    method = load_method("full", ["method/optimizer=muon", "method.trainable=['*.bias']"])
    with pytest.raises(ConfigError, match="muon: no matrix trains"):
        method.optimizer(method.apply(Tower()))


def test_a_setting_that_torch_refuses_is_one_line() -> None:
    method = load_method("full", ["method/optimizer=muon", "method.optimizer.adjust_lr_fn=some"])
    with pytest.raises(ConfigError, match=r"method\.optimizer: .*some is not supported"):
        method.optimizer(method.apply(Tower()))


@pytest.mark.parametrize("transform", ["galore", "fira", "apollo"])
def test_behind_a_projection_both_rules_see_the_projected_gradient(transform: str) -> None:
    case = Case(transform, ["method/optimizer=muon", "method.transform.update_gap=4"])
    training = case.training().advance(1)
    shapes = {
        name: next(v.shape for k, v in training.optimizer.state[p].items() if k in MOMENTS)
        for name, p in training.model.named_parameters()
    }
    assert shapes["tall.weight"] == (32, 4)  # of (32, 8), by Muon
    assert shapes["head.weight"] == (4, 32)  # of (8, 32), by AdamW
    assert shapes["tall.bias"] == (32,)
    state_survives_a_checkpoint(case)
