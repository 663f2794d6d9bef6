from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from lowrank_bench.errors import ConfigError
from lowrank_bench.identity import Identity, identify

Identify = Callable[..., Identity]


@pytest.fixture
def identity(composed: Callable[..., DictConfig]) -> Identify:
    return lambda *overrides: identify(composed(*overrides))


def test_full_is_one_run_whatever_the_rank(identity: Identify) -> None:
    low, high = identity("method=full", "rank=4"), identity("method=full", "rank=64")
    assert low.fingerprint == high.fingerprint
    assert low.name["rank"] is None
    assert low.label == "full-lr0.001-s0"


@pytest.mark.parametrize("knob", ["rank=16", "lr=0.01", "seed=1"])
@pytest.mark.parametrize("method", ["lowrank", "ae", "lora"])
def test_each_knob_makes_another_run_under_the_same_control(
    identity: Identify, method: str, knob: str
) -> None:
    plain, turned = identity(f"method={method}"), identity(f"method={method}", knob)
    assert plain.fingerprint != turned.fingerprint
    assert plain.control_hash == turned.control_hash
    assert (plain.method_hash == turned.method_hash) is knob.startswith("seed")


@pytest.mark.parametrize("method", ["full", "lowrank", "ae", "lora"])
def test_a_config_composed_twice_is_one_run(identity: Identify, method: str) -> None:
    assert identity(f"method={method}") == identity(f"method={method}")


def test_methods_are_runs_of_their_own(identity: Identify) -> None:
    found = [identity(f"method={method}") for method in ("full", "lowrank", "ae", "lora")]
    assert len({each.fingerprint for each in found}) == len(found)
    assert len({each.control_hash for each in found}) == 1


def test_a_recipe_typed_out_is_the_recipe(identity: Identify) -> None:
    recipe, typed = identity("method=ae"), identity("method=lowrank", "method/init=torch_default")
    assert recipe.fingerprint == typed.fingerprint
    assert (recipe.name["method"], typed.name["method"]) == ("ae", "lowrank")


@pytest.mark.parametrize(
    "override",
    [
        "method.name=another",
        "run.threads=2",
        "run.devices=2",
        "run.accelerator=gpu",
        "run.dir=elsewhere",
        "run.block=1",
        "run.log_every=7",
        "run.eval_batch_size=50",
        "logger=local",
        "logger=tensorboard",
        "data.root=/elsewhere",
    ],
)
def test_what_decides_no_outcome_makes_no_other_run(identity: Identify, override: str) -> None:
    plain, other = identity("data=mnist"), identity("data=mnist", override)
    assert plain.fingerprint == other.fingerprint
    assert (plain.control_hash, plain.method_hash) == (other.control_hash, other.method_hash)


@pytest.mark.parametrize(
    "override",
    [
        "data=mnist",
        "data.val_size=100",
        "data.split_seed=1",
        "model.hidden=[64]",
        "budget.batch_size=32",
        "budget.shuffle=false",
        "budget.selection=best_val_accuracy",
        "epochs=3",
        "precision=64-true",
        "base.name=another",
    ],
)
def test_each_part_of_the_control_makes_another_control_and_no_other_method(
    identity: Identify, override: str
) -> None:
    plain, other = identity(), identity(override)
    assert plain.control_hash != other.control_hash
    assert plain.method_hash == other.method_hash
    assert plain.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    "override",
    [
        "method/optimizer=sgd",
        "method/schedule=cosine",
        "method.adapter.alpha=8",
        "method.adapter.dropout=0.1",
        "method.optimizer.weight_decay=0.1",
        "method.targets=[head]",
        "method.trainable=['*.B']",
    ],
)
def test_each_slot_of_the_method_makes_another_method_and_no_other_control(
    identity: Identify, override: str
) -> None:
    plain, other = identity(), identity(override)
    assert plain.method_hash != other.method_hash
    assert plain.control_hash == other.control_hash
    assert plain.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("one", "same"), [("lr=1", "lr=1.0"), ("lr=1e-3", "lr=0.001"), ("lr=100", "lr=1e2")]
)
def test_a_number_is_one_number_however_it_is_written(
    identity: Identify, one: str, same: str
) -> None:
    assert identity(one).fingerprint == identity(same).fingerprint


def test_the_name_says_what_a_person_asks_for(identity: Identify) -> None:
    found = identity("method=lowrank", "rank=16", "lr=0.01", "seed=2")
    assert found.name == {
        "method": "lowrank",
        "data": "digits",
        "model": "mlp",
        "base": "scratch",
        "rank": 16,
        "lr": 0.01,
    }
    assert found.seed == 2
    assert found.label == "lowrank-r16-lr0.01-s2"


def test_a_rank_that_only_the_init_reads_is_a_rank(identity: Identify) -> None:
    low, high = (
        identity("method=full", "method/init=product_variance", rank)
        for rank in ("rank=4", "rank=8")
    )
    assert low.name["rank"] == 4
    assert low.fingerprint != high.fingerprint


def test_a_config_that_does_not_resolve_is_a_users_mistake(identity: Identify) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        identity("method.optimizer.lr=${nowhere}")
