"""Every packaged adapter with every packaged init: what fits keeps the base, the rest raises."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import Tensor, nn

from lowrank_bench.build import build
from lowrank_bench.config_dir import config_dir
from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.adapter import Adapter
from lowrank_bench.layers.layer import Layer
from lowrank_bench.method import Method

I, H, O, R = 40, 24, 12, 4  # noqa: E741
ROOT = config_dir() / "method"
BESIDE: dict[str, dict[str, Any]] = {
    "rslora": {"slot": "lora", "rank_stabilized": True},
    "rank-stabilised dora": {"slot": "dora", "rank_stabilized": True},
}


def packaged(slot: str, name: str) -> Any:
    settings = {"slot": name, **BESIDE.get(name, {})}
    node = OmegaConf.load(ROOT / slot / f"{settings.pop('slot')}.yaml")
    root = OmegaConf.create({"rank": R, slot: OmegaConf.merge(node, settings)})
    return build(root[slot], f"method.{slot}")


def layer_of(adapter: str) -> type[Layer] | None:
    """The class whose `adapt` the slot names, if it is one of ours."""
    owner = getattr(packaged("adapter", adapter).func, "__self__", None)
    return owner if isinstance(owner, type) and issubclass(owner, Layer) else None


SLOTS = [path.stem for path in sorted((ROOT / "adapter").glob("*.yaml"))]
ADAPTERS = [name for name in (*SLOTS, *BESIDE) if layer_of(name) is not None]
INITS = [path.stem for path in sorted((ROOT / "init").glob("*.yaml"))]


def is_legal(adapter: str, init: str) -> bool:
    layer = layer_of(adapter)
    assert layer is not None
    return layer.domain in packaged("init", init).func.domains


LEGAL = [(a, i) for a in ADAPTERS for i in INITS if is_legal(a, i)]
ILLEGAL = [(a, i) for a in ADAPTERS for i in INITS if not is_legal(a, i)]
AROUND_A_BASE = [(a, i) for a, i in LEGAL if issubclass(layer_of(a) or object, Adapter)]
FAMILY = ("lora", "rslora", "dora", "rank-stabilised dora", "vera")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(I, H), nn.ReLU(), nn.Linear(H, H, bias=False), nn.Linear(H, O))


def loss(model: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(32, I, generator=generator), torch.randn(32, O, generator=generator)
    return F.mse_loss(model(x), y)


def adapted(adapter: str, init: str, seed: int = 0) -> nn.Module:
    method = Method(
        seed=seed,
        name="toy",
        targets=["*"],
        trainable=None,
        adapter=packaged("adapter", adapter),
        init=packaged("init", init),
        optimizer=partial(torch.optim.SGD, lr=1),
        schedule=lambda optimizer, _: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0),
    )
    return method.apply(network(), loss=loss)


def far(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).detach().abs().max() / theirs.detach().abs().max())


def test_there_is_something_to_test() -> None:
    assert set(FAMILY) <= {adapter for adapter, _ in AROUND_A_BASE}
    inits = {init for adapter, init in AROUND_A_BASE if adapter == "dora"}
    assert inits >= {"zero_b", "gaussian", "orthogonal", "pissa", "milora", "olora", "lora_ga"}
    assert ("factorised", "spectral") in LEGAL


@pytest.mark.parametrize(("adapter", "init"), AROUND_A_BASE)
def test_a_layer_around_a_base_starts_as_the_model_that_it_adapts(adapter: str, init: str) -> None:
    x = torch.randn(16, I)
    assert far(adapted(adapter, init)(x), network()(x)) <= 1e-5


@pytest.mark.parametrize(("adapter", "init"), LEGAL)
def test_the_same_seed_gives_the_same_start(adapter: str, init: str) -> None:
    first, again = (adapted(adapter, init).state_dict() for _ in range(2))
    assert list(first) == list(again)
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize(("adapter", "init"), ILLEGAL)
def test_a_pair_that_does_not_fit_raises_and_names_both(adapter: str, init: str) -> None:
    layer = layer_of(adapter)
    assert layer is not None
    with pytest.raises(ConfigError) as error:
        adapted(adapter, init)
    line = str(error.value)
    assert line.startswith(f"method.init={init}: ")
    assert f"'0' is {layer.domain} ({layer.__name__})" in line


@pytest.mark.parametrize(("adapter", "init"), AROUND_A_BASE)
def test_a_merged_model_computes_what_the_trained_one_did(adapter: str, init: str) -> None:
    model = adapted(adapter, init)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    start, before = loss(model), loss(network())
    for _ in range(5):
        optimizer.zero_grad()
        loss(model).backward()
        optimizer.step()
    assert loss(model) < start  # something was learned, which merging may lose
    assert far(start, before) <= 1e-5
    x = torch.randn(16, I)
    trained = model(x)
    layers = [layer for layer in model.modules() if isinstance(layer, Adapter)]
    assert len(layers) == 3
    for layer in layers:
        layer.merge_()
    assert far(model(x), trained) <= 1e-5
    bare = nn.Sequential(layers[0].base, nn.ReLU(), layers[1].base, layers[2].base)
    assert far(bare(x), trained) <= 1e-5


COUNTS: dict[str, Callable[[int, int], int]] = {
    "factorised": lambda i, o: R * (i + o) + o,
    "lora": lambda i, o: R * (i + o),
    "rslora": lambda i, o: R * (i + o),
    "dora": lambda i, o: R * (i + o) + o,
    "vera": lambda i, o: o + R,
}


@pytest.mark.parametrize(("adapter", "init"), [p for p in LEGAL if p[0] in COUNTS])
def test_what_trains_is_counted_by_the_formula(adapter: str, init: str) -> None:
    expected = sum(COUNTS[adapter](*shape) for shape in ((I, H), (H, H), (H, O)))
    if adapter == "factorised":
        expected -= H  # one layer has no bias
    model = adapted(adapter, init)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == expected
