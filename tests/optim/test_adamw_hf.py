from typing import Any

import pytest
import torch
from injected import Matrices, adamw_hf, differences, follow, named, theirs
from torch.optim import AdamW

from lowrank_bench.errors import ConfigError
from lowrank_bench.optim.adamw_hf import AdamWHF

SETTINGS: dict[str, Any] = {"lr": 0.02, "betas": (0.9, 0.999), "eps": 1e-6, "weight_decay": 0.0}


@pytest.mark.reference
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_a_group_without_rank_is_the_reference(weight_decay: float) -> None:
    ours, other = Matrices(), Matrices()
    pair = (ours, adamw_hf(weight_decay)(ours))
    reference = theirs(
        "galore_torch",
        "GaLoreAdamW",
        other,
        weight_decay=weight_decay,
        no_deprecation_warning=True,
    )
    for found in follow(pair, (other, reference), 13):
        assert max(found.values()) <= 1e-6


@pytest.mark.parametrize("correct_bias", [True, False])
def test_the_first_step_is_that_of_the_formula(correct_bias: bool) -> None:
    model = Matrices()
    before = model.wide.detach().clone()
    optimizer = AdamWHF(named(model), **SETTINGS, correct_bias=correct_bias)
    model.inject(0)
    optimizer.step()
    g = model.wide.grad
    assert g is not None
    factor = 0.001**0.5 / 0.1 if correct_bias else 1.0
    expected = before - 0.02 * factor * 0.1 * g / (0.001**0.5 * g.abs() + 1e-6)
    assert torch.allclose(model.wide, expected, rtol=1e-5)
    state = optimizer.state[model.wide]
    assert optimizer.step_factor(optimizer.param_groups[0], state) == pytest.approx(factor)


def test_eps_weighs_more_at_first_than_in_torch() -> None:
    ours, other = Matrices(), Matrices()
    settings: dict[str, Any] = SETTINGS | {"eps": 0.1}
    pair = (ours, AdamWHF(named(ours), **settings))
    for found in follow(pair, (other, AdamW(named(other), **settings)), 1):
        assert min(found.values()) > 1e-3


def test_decay_acts_after_the_update_on_what_was_updated() -> None:
    plain, decayed = Matrices(), Matrices()
    for model, decay in ((plain, 0.0), (decayed, 0.1)):
        model.inject(0)
        adamw_hf(decay)(model).step()
    with torch.no_grad():
        for p in plain.parameters():
            p.mul_(1 - 0.02 * 0.1)
    assert max(differences(decayed, plain).values()) < 1e-7


def test_a_parameter_without_a_gradient_stays_and_keeps_its_own_count() -> None:
    model = Matrices()
    optimizer = adamw_hf()(model)
    for update in range(3):
        model.inject(update)
        if update < 2:
            model.get_parameter("tall").grad = None
        optimizer.step()
    assert optimizer.state[model.tall]["step"] == 1
    assert optimizer.state[model.wide]["step"] == 3
    fresh = Matrices()
    fresh.inject(2)
    adamw_hf()(fresh).step()
    assert torch.equal(model.tall, fresh.tall)


@pytest.mark.parametrize(
    ("key", "value"), [("lr", -1.0), ("eps", -1.0), ("weight_decay", -0.1), ("betas", (0.9, 1.0))]
)
def test_a_number_outside_its_range_is_named(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"method.optimizer.{key}="):
        AdamWHF(named(Matrices()), **(SETTINGS | {key: value}))


def test_a_closure_is_called_with_gradients_on() -> None:
    model = Matrices()

    def closure() -> Any:
        loss = model.wide.square().sum()
        loss.backward()
        return loss

    before = model.wide.detach().clone()
    assert adamw_hf()(model).step(closure).detach() > 0
    assert not torch.equal(model.wide, before)
