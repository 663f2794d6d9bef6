"""Adapters that take turns on one base, in its weights, beside them, or all at once."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lowrank_bench import load_method
from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.routing import route
from lowrank_bench.switch import Merged, adapter_state, bank_of, load_adapter

Build = Callable[..., nn.Module]


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4)
    )


def adapted(recipe: str = "lora", seed: int = 1, rank: int = 2, *more: str) -> nn.Module:
    """The net with an adapter that does something."""
    model = load_method(recipe, [f"rank={rank}", *more]).apply(net())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.eval().requires_grad_(False)


def batch(n: int = 6) -> Tensor:
    return torch.randn(n, 8, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("recipe", ["lora", "rslora", "pissa", "adalora", "vera"])
def test_a_merged_model_is_plain_and_computes_the_same(recipe: str) -> None:
    model = adapted(recipe)
    expected = model(batch())
    merged = Merged(model)
    assert merged.model is model
    assert {type(m) for m in model.children()} == {nn.Linear, nn.ReLU}
    torch.testing.assert_close(model(batch()), expected, rtol=1e-5, atol=1e-5)
    merged.unmerge()
    torch.testing.assert_close(model(batch()), expected, rtol=1e-5, atol=1e-5)
    assert not any(type(m) is nn.Linear for m in model.children())


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_switching_puts_another_adapter_on_whatever_its_rank(rank: int) -> None:
    model, other = adapted(), adapted(seed=3, rank=rank)
    merged = Merged(model).switch(adapter_state(other))
    torch.testing.assert_close(model(batch()), other(batch()), rtol=1e-5, atol=1e-5)
    model = merged.unmerge()  # with its own adapter
    torch.testing.assert_close(model(batch()), adapted()(batch()), rtol=1e-5, atol=1e-5)


def test_adapters_of_several_methods_take_turns() -> None:
    model, others = adapted(), [adapted("adalora"), adapted("rslora"), adapted("vera")]
    merged = Merged(model)
    for other in others:
        merged.switch(adapter_state(other))
        torch.testing.assert_close(model(batch()), other(batch()), rtol=1e-5, atol=1e-5)


def test_a_hundred_switches_cost_a_few_roundings() -> None:
    states = [adapter_state(adapted(seed=seed)) for seed in range(4)]
    model = adapted()
    once = {n: p.clone() for n, p in Merged(adapted()).switch(states[3]).model.named_parameters()}
    merged = Merged(model)
    for turn in range(100):
        merged.switch(states[turn % 4])
    weights = {n: p for n, p in model.named_parameters() if n.endswith("weight")}
    for name, weight in weights.items():
        drift = float((weight - once[name]).norm() / once[name].norm())
        assert 0 < drift < 50 * torch.finfo(torch.float32).eps


def test_the_base_is_no_copy() -> None:
    model = adapted()
    places = {p.data_ptr() for n, p in model.named_parameters() if n.endswith("base.weight")}
    merged = Merged(model)
    merged.switch(adapter_state(adapted(seed=3)))
    assert {p.data_ptr() for n, p in model.named_parameters() if n.endswith("weight")} == places


def test_an_adapter_travels_through_a_file(tmp_path) -> None:
    other = adapted(seed=3)
    save_file(adapter_state(other), tmp_path / "adapter.safetensors")
    assert (tmp_path / "adapter.safetensors").stat().st_size < 2500
    model = adapted()
    load_adapter(model, load_file(tmp_path / "adapter.safetensors"))
    assert torch.equal(model(batch()), other(batch()))


def test_a_state_is_a_copy_of_the_adapter_and_nothing_else() -> None:
    model = adapted()
    state = adapter_state(model)
    assert sorted(state) == sorted(f"{n}.{part}" for n in "024" for part in ("A", "B", "scale"))
    state["0.A"].zero_()
    assert model[0].A.any()  # type: ignore[index]


@pytest.mark.parametrize("recipe", ["lora", "adalora"])
def test_one_forward_of_a_bank_serves_the_examples_of_all(recipe: str) -> None:
    models = [adapted(recipe, seed=seed) for seed in range(3)]
    bank = bank_of(net(), [adapter_state(model) for model in models]).eval()
    x, ids = batch(7), torch.tensor([2, 0, 1, 1, 0, 2, 2])
    route(bank, ids)
    alone = torch.stack([models[int(k)](x[e]) for e, k in enumerate(ids)])
    torch.testing.assert_close(bank(x), alone, rtol=1e-5, atol=1e-5)


def test_a_bank_takes_adapters_of_unequal_rank_and_scale() -> None:
    models = [adapted(rank=1), adapted("rslora", seed=3, rank=4)]
    bank = bank_of(net(), [adapter_state(model) for model in models]).eval()
    for k, model in enumerate(models):
        route(bank, torch.full((6,), k))
        torch.testing.assert_close(bank(batch()), model(batch()), rtol=1e-5, atol=1e-5)


def broken(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name != "2.scale"}


def narrowed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {"2.B": state["2.B"][:5]}


def lacking(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith("2.")}


def more(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {f"9.{part}": state[f"2.{part}"] for part in ("A", "B", "scale")}


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (broken, "not whole: it has no '2.scale'"),
        (lacking, "'2' only the model has"),
        (more, "'9' only the adapter has"),
        (narrowed, r"for a weight of \(5, 16\), here it is \(12, 16\)"),
    ],
)
def test_a_wrong_adapter_is_named_and_changes_nothing(harm, why: str) -> None:
    merged = Merged(adapted())
    before = merged.model(batch())
    with pytest.raises(ConfigError, match=why):
        merged.switch(harm(adapter_state(adapted(seed=3))))
    assert torch.equal(merged.model(batch()), before)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (lambda: adapted(rank=4), "has rank 4 and scale 4, the layer 2 and 8"),
        (lambda: adapted("rslora"), "scale 11.3137"),
    ],
)
def test_what_is_loaded_beside_the_weights_must_fit(other: Build, why: str) -> None:
    model = adapted()
    before = model(batch())
    with pytest.raises(ConfigError, match=why):
        load_adapter(model, adapter_state(other()))
    assert torch.equal(model(batch()), before)
    with pytest.raises(ConfigError, match="is loaded into LoRA, not SVDLinear"):
        load_adapter(adapted("adalora"), adapter_state(model))


@pytest.mark.parametrize(
    ("recipe", "why"),
    [
        ("full", "no adapters"),
        ("lowrank", "no adapters"),
        ("dora", "'0': DoRALinear .*no product of two factors"),
        ("subspace", "'0': the correction of SubspaceLinear is no product"),
    ],
)
def test_what_cannot_be_switched_says_why(recipe: str, why: str) -> None:
    model = adapted(recipe)
    with pytest.raises(ConfigError, match=why):
        Merged(model)
    if recipe == "dora":
        assert model[0].magnitude.any()  # type: ignore[index]  # untouched


def test_an_empty_bank_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one adapter"):
        bank_of(net(), [])


def test_what_the_docs_show_runs() -> None:
    docs = (Path(__file__).parents[1] / "docs" / "export.md").read_text(encoding="utf-8")
    (shown,) = [b for b in re.findall(r"```python\n(.*?)```", docs, re.DOTALL) if "Merged(" in b]
    found: dict[str, object] = {}
    exec(shown, found)
    assert found["model"] is found["first"]
