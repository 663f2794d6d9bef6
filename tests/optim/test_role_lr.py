from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.optim import SGD, AdamW

from lowrank_bench.build import build
from lowrank_bench.door import load_method
from lowrank_bench.errors import ConfigError
from lowrank_bench.method import Method
from lowrank_bench.optim.role_lr import RoleRates, with_ratio
from lowrank_bench.roles import role_of
from lowrank_bench.testing import Case, Tower, state_survives_a_checkpoint

Compose = Callable[..., DictConfig]
INNER = "method/optimizer@method.optimizer.inner"


class Net(nn.Module):
    """Two adapted layers, a norm between them, and a head that trains whole."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(6, 8), nn.LayerNorm(8)
        self.second, self.head = nn.Linear(8, 7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.norm(self.first(x))))


def rates(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, tuple[float, float]]:
    """{name: (lr, weight decay)}"""
    of = {
        id(p): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    return {name: of[id(p)] for name, p in model.named_parameters() if p.requires_grad}


def lora_plus(*overrides: str) -> Method:
    return load_method("lora_plus", ["rank=4", "lr=0.01", *overrides])


def by_role(optimizer: torch.optim.Optimizer, key: str) -> dict[str, Any]:
    return {group["role"]: group[key] for group in optimizer.param_groups}


def test_b_learns_at_the_ratio_and_all_else_at_the_rate_of_the_inner_rule() -> None:
    method = lora_plus("method.head=head", "method.targets=[wide,tall]")
    optimizer = method.optimizer(method.apply(Tower()))
    assert by_role(optimizer, "lr") == {
        "lora_A": 0.01,
        "lora_B": pytest.approx(0.16),
        "dense": 0.01,
        "bias": 0.01,
    }


def test_the_weight_decay_of_the_inner_rule_stays() -> None:
    method = lora_plus("method.optimizer.inner.weight_decay=0.1")
    assert set(by_role(method.optimizer(method.apply(Tower())), "weight_decay").values()) == {0.1}


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_ratio_survives_every_step_of_a_schedule(schedule: str) -> None:
    method = lora_plus(f"method/schedule={schedule}", "method.schedule.warmup=3")
    model = method.apply(Tower())
    optimizer = method.optimizer(model)
    curve = method.schedule(optimizer, 9)
    seen = set()
    for _ in range(9):
        model(torch.randn(2, 16)).sum().backward()
        optimizer.step()
        curve.step()
        now = by_role(optimizer, "lr")
        seen.add(now["lora_A"])
        assert now["lora_B"] == pytest.approx(16 * now["lora_A"], rel=1e-12)
    assert len(seen) > 1
    assert isinstance(optimizer, RoleRates)
    assert optimizer.receipts(model)["lr_ratio"]["ok"]
    assert optimizer.receipts(model)["decay_kept"]["ok"]


def test_a_schedule_that_assigns_one_rate_to_all_fails_the_receipt() -> None:
    method = lora_plus()
    model = method.apply(Tower())
    optimizer = method.optimizer(model)
    kept = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    optimizer.step()
    for group, lr in zip(optimizer.param_groups, kept, strict=True):  # and hides it at the end
        group["lr"], group["weight_decay"] = lr, 0.3
    assert isinstance(optimizer, RoleRates)
    assert optimizer.receipts(model)["lr_ratio"]["ok"] is False
    assert optimizer.receipts(model)["decay_kept"]["ok"] is False


def test_at_a_rate_of_zero_there_is_no_ratio_to_watch() -> None:
    method = lora_plus("method.optimizer.inner.lr=0")
    model = method.apply(Net())
    optimizer = method.optimizer(model)
    model(torch.randn(4, 6)).sum().backward()
    optimizer.step()
    assert optimizer.receipts(model)["lr_ratio"]["ok"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("rule", ["adamw", "sgd", "adamw_hf", "muon"])
def test_at_ratio_1_it_is_the_inner_rule_bit_for_bit(rule: str) -> None:
    """So LoRA+ at ratio 1 is LoRA."""
    decay = "weight_decay=0.1"
    plus = ("lora_plus", [f"{INNER}={rule}", "method.optimizer.ratio=1"])
    plain = ("lora", [f"method/optimizer={rule}", f"method.optimizer.{decay}"])
    runs = [
        Case(plus[0], [*plus[1], f"method.optimizer.inner.{decay}"]).training().advance(5),
        Case(*plain).training().advance(5),
    ]
    one, other = (run.model.state_dict() for run in runs)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_at_a_ratio_above_1_it_is_another_rule() -> None:
    one, other = (Case(recipe).training().advance(2).model for recipe in ("lora", "lora_plus"))
    assert not torch.equal(one.get_parameter("tall.B"), other.get_parameter("tall.B"))


@pytest.mark.parametrize("rule", ["adamw", "sgd", "muon"])
def test_a_resumed_run_equals_one_that_was_not(rule: str) -> None:
    state_survives_a_checkpoint(Case("lora_plus", [f"{INNER}={rule}"]))


def test_it_composes_with_other_inits_and_adapters(composed: Compose) -> None:
    cfg = composed("method=pissa", "method/adapter=dora", "method/optimizer=lora_plus")
    method = Method(**build(cfg.method, "method"))
    optimizer = method.optimizer(method.apply(nn.ModuleDict({"head": nn.Linear(20, 20)})))
    assert by_role(optimizer, "lr_ratio") == {"lora_A": 1, "lora_B": 16, "magnitude": 1}


def test_it_stands_inside_of_lora_pro() -> None:
    case = Case("lora_pro", ["method/optimizer=lora_plus", f"{INNER}=sgd"])
    training = case.training().advance(3)
    receipts: dict[str, Any] = training.optimizer.receipts(training.model)  # type: ignore[attr-defined]
    assert receipts["lr_ratio"]["ok"] and receipts["descent"]["ok"]
    state_survives_a_checkpoint(case)


# Mistakes


def test_with_lora_fa_it_is_refused_and_both_are_named() -> None:
    method = load_method("lora_fa", ["rank=2", "method/optimizer=lora_plus"])
    with pytest.raises(
        ConfigError,
        match=r"^method\.optimizer\.over=lora_A: LoRA\+.* \(LoRA-FA and others freeze it\)$",
    ):
        method.optimizer(method.apply(Tower()))


@pytest.mark.parametrize("ratio", [0.5, -1, "many", True, float("nan")])
def test_a_ratio_below_1_or_none_is_refused(ratio: Any) -> None:
    groups = [{"params": [("w", nn.Parameter(torch.ones(1)))], "role": "lora_B"}]
    with pytest.raises(ConfigError, match=rf"ratio={ratio}: must be a number, 1 or more"):
        with_ratio(
            groups,
            inner=SGD,
            ratio=ratio,
            roles=["lora_B"],
            over="lora_B",
            reference_groups=False,
        )


def test_a_role_that_nobody_has_is_refused() -> None:
    method = load_method("lowrank", ["rank=2", "method/optimizer=lora_plus"])
    with pytest.raises(ConfigError, match=r"'lora_B' \(there is: bias, factor_A, factor_B\)"):
        method.optimizer(method.apply(Tower()))


def test_other_factors_may_have_the_ratio() -> None:
    roles = ["method.optimizer.roles=[factor_B]", "method.optimizer.over=factor_A"]
    method = load_method("lowrank", ["rank=2", "method/optimizer=lora_plus", *roles])
    ratios = by_role(method.optimizer(method.apply(Tower())), "lr_ratio")
    assert ratios == {"factor_A": 1, "factor_B": 16, "bias": 1}


def test_an_experiment_that_takes_the_rule_away_fails_instead_of_training_plain_lora(
    composed: Compose,
) -> None:
    cfg = composed("experiment=founding", "method=lora_plus")
    with pytest.raises(ConfigError, match=r"method\.optimizer\.ratio: torch\.optim\.SGD has no"):
        build(cfg.method, "method")


def test_an_experiment_may_be_given_the_rule_around_its_own(composed: Compose) -> None:
    cfg = composed(
        "experiment=founding", "method=lora_plus", "method/optimizer=lora_plus", f"{INNER}=sgd"
    )
    method = build(cfg.method, "method")
    assert method["optimizer"].keywords["inner"].func is SGD


# Parity


def reference_model() -> tuple[nn.Module, Any]:
    """Our adapted network, and PEFT's of the same layout."""
    import peft

    torch.manual_seed(0)
    ours = lora_plus("method.targets=[first,second]", "method.trainable=['*.A','*.B','*bias']")
    model = ours.apply(Net())
    for name in ("norm.weight", "norm.bias", "head.weight", "head.bias"):
        model.get_parameter(name).requires_grad_(True)
    config = peft.LoraConfig(
        r=4, target_modules=["first", "second"], bias="all", modules_to_save=["norm", "head"]
    )
    return model, peft.get_peft_model(Net(), config)  # type: ignore[arg-type]


def our_name(name: str) -> str:
    name = name.removeprefix("base_model.model.").replace(".modules_to_save.default", "")
    name = name.replace("lora_A.default.weight", "A").replace("lora_B.default.weight", "B")
    return name.replace("base_layer", "base")


@pytest.mark.reference
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_with_its_flag_the_groups_are_those_of_peft(decay: float) -> None:
    from peft.optimizers import create_loraplus_optimizer

    model, theirs = reference_model()
    groups: dict[str, Any] = {}
    for name, p in model.named_parameters():
        if p.requires_grad:
            groups.setdefault(role_of(model, name), []).append((name, p))
    optimizer = with_ratio(
        [{"params": params, "role": role} for role, params in groups.items()],
        inner=partial(AdamW, lr=5e-5, weight_decay=decay),
        ratio=20,
        roles=["lora_B"],
        over="lora_A",
        reference_groups=True,
    )
    reference = create_loraplus_optimizer(
        theirs, AdamW, lr=5e-5, loraplus_lr_ratio=20, loraplus_weight_decay=decay
    )
    expected = {our_name(name): pair for name, pair in rates(reference, theirs).items()}
    assert rates(optimizer, model) == expected
    assert len(set(expected.values())) == (3 if decay else 2)
    assert expected["norm.weight"] == (pytest.approx(1e-3), 0)
