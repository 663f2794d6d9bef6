"""What is equal by definition is equal: counts, starts, scales, and the rank that restarts add."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lowrank_bench.layers.adapter import Adapter
from lowrank_bench.layers.lora import LoRALinear
from lowrank_bench.testing import Case

INITS = ("zero_b", "gaussian", "orthogonal", "pissa", "milora", "olora", "lora_ga")
ALPHA, R = 6, 4


def weights(case: Case, num_updates: int = 0) -> dict[str, Tensor]:
    return dict(case.training().advance(num_updates).model.named_parameters())


def test_every_init_of_a_lora_is_here() -> None:
    from lowrank_bench.build import build
    from lowrank_bench.config_dir import config_dir

    found = set()
    for path in (config_dir() / "method" / "init").glob("*.yaml"):
        case = Case("lora", [f"method/init={path.stem}"])
        if LoRALinear.domain in build(case.node["init"], "method.init").func.domains:
            found.add(path.stem)
    assert found == set(INITS)


@pytest.mark.parametrize("rank", [1, 2, 8, 33])
@pytest.mark.parametrize("init", ["torch_default", "rank_uniform", "matched_variance", "cola"])
def test_autoencoder_and_direct_layers_train_as_many_numbers(rank: int, init: str) -> None:
    """Q1: at every rank and width, a rank above both included: r (i + o) + o."""
    counts = []
    for recipe in ("ae", "lowrank"):
        training = Case(recipe, [f"rank={rank}", f"method/init={init}"]).training()
        counts.append({name: p.numel() for name, p in training.model.named_parameters()})
    assert counts[0] == counts[1]
    shapes = ((16, 8), (8, 32), (32, 32), (32, 8))
    assert sum(counts[0].values()) == sum(rank * (i + o) + o for i, o in shapes)


@pytest.mark.parametrize("adapter", ["lora", "dora"])
@pytest.mark.parametrize("init", INITS)
def test_lora_plus_starts_as_lora_and_goes_elsewhere(adapter: str, init: str) -> None:
    """Q2."""
    chosen = [f"method/adapter={adapter}", f"method/init={init}"]
    plus, plain = Case("lora_plus", chosen), Case("lora", chosen)
    ours, theirs = weights(plus), weights(plain)
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    ours, theirs = weights(plus, 2), weights(plain, 2)
    assert not any(torch.equal(ours[n], theirs[n]) for n in ours if n.endswith(".B"))


@pytest.mark.parametrize("adapter", ["lora", "dora"])
@pytest.mark.parametrize("init", INITS)
def test_rslora_is_lora_at_alpha_times_the_root_of_the_rank(adapter: str, init: str) -> None:
    """Q8, at the start and in training."""
    chosen = [f"method/adapter={adapter}", f"method/init={init}"]
    stabilized = Case(
        "rslora", [*chosen, f"method.adapter.alpha={ALPHA}", "method.adapter.rank_stabilized=true"]
    )
    plain = Case("lora", [*chosen, f"method.adapter.alpha={ALPHA * R**0.5}"])
    for num_updates in (0, 5):
        ours, theirs = weights(stabilized, num_updates), weights(plain, num_updates)
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("init", INITS)
def test_each_restart_adds_at_most_the_rank_of_the_layer(init: str) -> None:
    """Q4: relative to the base of the start, and more than r after two."""
    r, cycle = 2, 3
    case = Case(
        "relora",
        [f"rank={r}", f"method/init={init}", f"method.hooks.restarts.cycle_length={cycle}"],
    )
    training = case.training()
    layers: Any = {n: m for n, m in training.layers().items() if isinstance(m, Adapter)}
    bases = {name: layer.base.weight.detach().clone() for name, layer in layers.items()}
    ranks: dict[str, int] = {}
    for update in range(11):
        training.advance(1)
        for name, layer in layers.items():
            change = (layer.effective_weight() - bases[name]).detach().double()
            # Single precision leaves noise of 1e-7 of the weight beyond the rank.
            noise = 1e-5 * float(torch.linalg.matrix_norm(bases[name].double(), 2))
            ranks[name] = int((torch.linalg.svdvals(change) > noise).sum())
            assert ranks[name] <= r * (1 + update // cycle), (name, update)
    assert all(rank > r for rank in ranks.values())
