from torch import nn

from lowrank_bench.layers.factorised import FactorisedLinear
from lowrank_bench.layers.lora import LoRALinear
from lowrank_bench.roles import count_by_role, role_of


def model() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(4, 5),
        nn.Sequential(FactorisedLinear(5, 6, 2)),
        LoRALinear(nn.Linear(6, 3), 2, alpha=1, dropout=0),
    )


def test_each_parameter_has_the_role_that_its_own_layer_declares() -> None:
    assert {name: role_of(model(), name) for name, _ in model().named_parameters()} == {
        "0.weight": "dense",
        "0.bias": "bias",
        "1.0.A": "factor_A",
        "1.0.B": "factor_B",
        "1.0.bias": "bias",
        "2.base.weight": "dense",
        "2.base.bias": "bias",
        "2.A": "lora_A",
        "2.B": "lora_B",
    }


def test_a_parameter_of_the_model_itself_has_a_role() -> None:
    assert role_of(nn.Linear(2, 2), "weight") == "dense"


def test_a_layer_called_like_a_factor_does_not_lend_its_name() -> None:
    odd = nn.ModuleDict({"A": nn.Linear(2, 2), "lora_B": nn.Linear(2, 2)})
    assert {role_of(odd, name) for name, _ in odd.named_parameters()} == {"dense", "bias"}


def test_trainable_parameters_are_counted_by_role_and_frozen_ones_not() -> None:
    counted = model()
    counted[2].base.requires_grad_(False)  # type: ignore[union-attr]
    assert count_by_role(counted) == {
        "dense": 4 * 5,
        "bias": 5 + 6,
        "factor_A": 2 * 5,
        "factor_B": 6 * 2,
        "lora_A": 2 * 6,
        "lora_B": 3 * 2,
    }
