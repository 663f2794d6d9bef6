import io
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lowrank_bench.errors import ConfigError
from lowrank_bench.inits.flora import flora
from lowrank_bench.layers.flora import FLoRABank
from lowrank_bench.layers.routing import route
from lowrank_bench.optim.lazy import Lazy
from lowrank_bench.optim.roles import check_cover, groups_by_role

K = 3
INNERS: dict[str, Callable[[Any], Optimizer]] = {
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.05, weight_decay=0),
    "adamw, decay": lambda groups: torch.optim.AdamW(groups, lr=0.05, weight_decay=0.1),
    "sgd, momentum": lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.9),
}
TRAINED = ["0.A", "0.B", "2.A", "2.B"]


def banks(form: str = "additive", num_adapters: int = K) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)).double()
    settings = {"rank": 2, "num_adapters": num_adapters, "form": form, "alpha": 4}
    model = FLoRABank.adapt(model.requires_grad_(False), ["0", "2"], **settings)
    with torch.no_grad():
        for index in (0, 2):
            flora(model[index])  # type: ignore[index]
    return model


def batches(num_updates: int) -> list[tuple[Tensor, Tensor]]:
    """Examples and ids; at each update one adapter at least is absent."""
    generator = torch.Generator().manual_seed(1)
    found = []
    for update in range(num_updates):
        ids = torch.randint(K, (6,), generator=generator)
        ids = ids[ids != update % K]
        found.append((torch.randn(len(ids), 6, generator=generator).double(), ids))
    return found


def lazily(model: nn.Module, inner: str) -> Lazy:
    return Lazy(INNERS[inner](groups_by_role(model)), model, TRAINED)


def train(model: nn.Module, optimizer: Optimizer, steps: list[tuple[Tensor, Tensor]]) -> None:
    for x, ids in steps:
        model.zero_grad()
        route(model, ids)
        model(x).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("inner", INNERS)
@pytest.mark.parametrize("form", ["additive", "multiplicative"])
def test_an_adapter_among_others_moves_as_it_would_alone(form: str, inner: str) -> None:
    together = banks(form)
    train(together, lazily(together, inner), batches(9))
    for k in range(K):
        alone = banks(form)
        own = [(x[ids == k], ids[ids == k]) for x, ids in batches(9)]
        parameters = [alone.get_parameter(name) for name in TRAINED]
        single = [nn.Parameter(p.detach()[k].clone()) for p in parameters]
        optimizer = INNERS[inner]([{"params": single}])
        for x, ids in own:
            if not len(ids):
                continue
            alone.zero_grad()
            route(alone, ids)
            alone(x).square().sum().backward()
            for p, mine in zip(parameters, single, strict=True):
                assert p.grad is not None
                mine.grad = p.grad[k]
            optimizer.step()
            with torch.no_grad():
                for p, mine in zip(parameters, single, strict=True):
                    p[k] = mine
        for name, mine in zip(TRAINED, single, strict=True):
            torch.testing.assert_close(together.get_parameter(name)[k], mine.detach())


def test_absent_adapters_keep_parameters_and_moments_where_the_plain_rule_moves_them() -> None:
    steps = batches(7)
    x, ids = steps[-1]
    absent = next(k for k in range(K) if k not in ids)
    for lazy in (True, False):
        model = banks()
        optimizer = lazily(model, "adamw") if lazy else INNERS["adamw"](groups_by_role(model))
        train(model, optimizer, steps[:-1])
        before = model[0].B[absent].detach().clone()  # type: ignore[index]
        states = deepcopy(optimizer.state_dict()["state"])
        train(model, optimizer, [(x, ids)])
        assert torch.equal(model[0].B[absent], before) is lazy  # type: ignore[index]
        if lazy:
            now = optimizer.state_dict()["state"]
            for place in range(absent, 4 * K, K):
                assert set(now[place]) == {"step", "exp_avg", "exp_avg_sq"}
                assert all(torch.equal(now[place][k], v) for k, v in states[place].items())


def test_the_first_update_of_an_adapter_is_a_first_update_however_late() -> None:
    model = banks()
    optimizer = lazily(model, "adamw")
    x, early = torch.randn(4, 6).double(), torch.zeros(4, dtype=torch.int64)
    train(model, optimizer, [(x, early)] * 20)
    assert not model[0].B[2].any()  # type: ignore[index]
    train(model, optimizer, [(x, early + 2)])
    moved = model[0].B[2].abs()  # type: ignore[index]
    torch.testing.assert_close(moved, torch.full_like(moved, 0.05), rtol=1e-4, atol=0)


def test_state_is_that_of_one_optimizer_over_all() -> None:
    model = banks()
    optimizer = lazily(model, "adamw")
    train(model, optimizer, batches(6))
    moments = [v for s in optimizer.state.values() for k, v in s.items() if k != "step"]
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert sum(m.numel() for m in moments) == 2 * trained
    saved = optimizer.state_dict()["param_groups"]
    roles = {group["role"]: group["param_names"] for group in saved}
    assert roles["lora_A"] == [f"{name}.{k}" for name in ("0.A", "2.A") for k in range(K)]


@pytest.mark.parametrize("inner", INNERS)
def test_a_resumed_training_is_the_uninterrupted_one(inner: str) -> None:
    steps = batches(11)
    whole = banks()
    train(whole, lazily(whole, inner), steps)

    first = banks()
    optimizer = lazily(first, inner)
    train(first, optimizer, steps[:5])
    file = io.BytesIO()
    torch.save([first.state_dict(), optimizer.state_dict()], file)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    second = banks()
    again = lazily(second, inner)
    second.load_state_dict(weights)
    again.load_state_dict(state)
    train(second, again, steps[5:])
    for name in TRAINED:
        assert torch.equal(second.get_parameter(name), whole.get_parameter(name))


def test_between_steps_the_groups_hold_the_parameters_of_the_model() -> None:
    """So that what clears, clips or scales gradients by the groups reaches them."""
    model = banks()
    optimizer = lazily(model, "adamw")
    train(model, optimizer, batches(2))
    optimizer.load_state_dict(optimizer.state_dict())
    check_cover(optimizer, model)
    assert model[0].B.grad is not None  # type: ignore[index]
    optimizer.zero_grad()
    assert model[0].B.grad is None  # type: ignore[index]


def test_it_counts_the_updates_of_each_adapter() -> None:
    model = banks()
    optimizer = lazily(model, "adamw")
    steps = batches(9)
    train(model, optimizer, steps)
    counts = [sum(k in ids for _, ids in steps) for k in range(K)]
    told = optimizer.receipts(model)["adapter_updates"]
    assert told["value"] == counts
    assert list(optimizer.findings.values()) == counts


def test_without_any_gradient_nothing_moves() -> None:
    model = banks()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    lazily(model, "adamw, decay").step()
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_a_model_without_banks_is_refused() -> None:
    model = nn.Linear(3, 2)
    with pytest.raises(ConfigError, match=r"method\.transform=lazy: .*no bank"):
        Lazy(torch.optim.SGD(model.parameters(), lr=0.1), model, ["weight", "bias"])
