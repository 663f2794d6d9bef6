"""What is planned is what a real update leaves, to the byte, for every packaged method."""

from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from lowrank_bench.config_dir import config_dir
from lowrank_bench.footprint import adapter_bytes, gradients, live_bytes, merged_bytes
from lowrank_bench.footprint import state_tensors as states
from lowrank_bench.plan.plan import plan
from lowrank_bench.roles import count_by_role
from tests.plan.conftest import SHAPES, trained

RECIPES = sorted(path.stem for path in (config_dir() / "method").glob("*.yaml"))
FITS = {  # what a method needs of a model, or of its rank
    "bitfit": {"llama": "has no biases to train"},
}
CASES = [
    pytest.param(recipe, shape, marks=[pytest.mark.slow] if shape != "mlp" else [])
    for recipe in RECIPES
    for shape in SHAPES
    if shape not in FITS.get(recipe, {})
]
IGNORED = "ignore:Failed to load the CUDA extension", "ignore:Setting boft_n"


@pytest.mark.filterwarnings(*IGNORED)
@pytest.mark.parametrize(("recipe", "shape"), CASES)
def test_parameters_gradients_and_optimizer_state_are_planned_to_the_byte(
    of_shape: Callable[..., DictConfig], recipe: str, shape: str
) -> None:
    cfg = of_shape(shape, f"method={recipe}")
    numbers = plan(cfg).to_dict()
    built, optimizer = trained(cfg)
    model = built.model
    assert numbers["params"]["total"] == sum(p.numel() for p in model.parameters())
    assert numbers["params"]["by_role"] == count_by_role(model)
    assert numbers["weight_bytes"] == live_bytes(model.parameters())
    assert numbers["buffer_bytes"] == live_bytes(model.buffers())
    assert numbers["gradient_bytes"] == live_bytes(gradients(model)) > 0
    assert numbers["optimizer_state_bytes"] == live_bytes(states([optimizer])) > 0
    assert numbers["adapter_bytes"] == adapter_bytes(model)
    assert numbers["merged_bytes"] == merged_bytes(model)


def test_eight_bit_state_is_planned_to_the_byte(of_shape: Callable[..., DictConfig]) -> None:
    for method in ("full", "galore"):
        moments = ["method.transform.moments=keep"] if method == "galore" else []
        cfg = of_shape("mlp", f"method={method}", "method/optimizer=adam8bit", *moments)
        _, optimizer = trained(cfg)
        assert plan(cfg).ledger.states.bytes == live_bytes(states([optimizer]))


def test_per_layer_updates_leave_no_gradients(of_shape: Callable[..., DictConfig]) -> None:
    cfg = of_shape("mlp", "method=galore", "method.transform.per_layer=true")
    built, optimizer = trained(cfg)
    found = plan(cfg)
    assert found.ledger.gradients.bytes == live_bytes(gradients(built.model)) == 0
    assert found.ledger.states.bytes == live_bytes(states([optimizer]))
