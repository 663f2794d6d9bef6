from functools import cache, partial
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from lowrank_bench.build import build
from lowrank_bench.config_dir import config_dir
from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.factorised import FactorisedLinear
from lowrank_bench.layers.lora import LoRALinear
from lowrank_bench.layers.vera import VeRALinear
from lowrank_bench.method import Method

FILES = sorted((config_dir() / "method" / "init").glob("*.yaml"))
NAMES = [path.stem for path in FILES]
I, O, R = 300, 200, 8  # noqa: E741
DRAWS = 50
# Of one draw, the mean square of W's entries has a relative standard deviation of 3 %: by far
# most of it is sqrt(0.8 / o + 0.8 / i) / sqrt(r), for 0.8 = E x^4 / (E x^2)^2 - 1 of a uniform x.
# Of the mean over 50 draws it is 0.4 %; stated variances differ by a factor of 3 and more.
TOLERANCE = 0.02

# Var(W) and the bound of the bias, as the docstrings state them.
STATED = {
    ("rank_uniform", "factorised"): (1 / (9 * R), 1 / sqrt(I)),
    ("torch_default", "factorised"): (1 / (9 * I), 1 / sqrt(R)),
    ("matched_variance", "factorised"): (1 / (3 * I), 1 / sqrt(I)),
    ("torch_default", "dense"): (1 / (3 * I), 1 / sqrt(I)),
    ("product_variance", "dense"): (1 / (9 * R), 1 / sqrt(I)),
    ("orthogonal", "factorised"): (1 / (3 * I), 1 / sqrt(I)),
    ("cola", "factorised"): (1 / (I + O), 1 / sqrt(O)),
}
# Around a base, or from a dense weight: tests/layers/test_pairs.py and test_decomposed.py.
WITHOUT_A_DRAW_OF_W = {
    *((name, "adapter") for name in ("zero_b", "gaussian", "orthogonal")),
    *((name, "adapter") for name in ("pissa", "milora", "olora", "lora_ga")),
    ("spectral", "factorised"),
    ("vera", "vera"),
}

ADAPTERS: dict[str, Any] = {
    "dense": None,
    "factorised": partial(FactorisedLinear.adapt, rank=R),
    "adapter": partial(LoRALinear.adapt, rank=R, alpha=16, dropout=0),
    "vera": partial(VeRALinear.adapt, rank=R, dropout=0, projection_seed=0),
}


def packaged(name: str) -> Any:
    path: Path = config_dir() / "method" / "init" / f"{name}.yaml"
    return build(OmegaConf.create({"rank": R, "init": OmegaConf.load(path)}).init, "method.init")


def layer_of(domain: str) -> Any:
    model = nn.Sequential(nn.Linear(I, O))
    return (ADAPTERS[domain](model, ["0"]) if ADAPTERS[domain] else model)[0]


def apply(name: str, domain: str) -> nn.Module:
    method = Method(
        name="toy",
        targets=["0"],
        trainable=["*"],
        adapter=ADAPTERS[domain],
        init=packaged(name),
        optimizer=partial(torch.optim.SGD, lr=1),
        schedule=lambda optimizer, _: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0),
    )
    x = torch.randn(4, I)
    return method.apply(nn.Sequential(nn.Linear(I, O)), loss=lambda net: net(x).square().mean())


@cache
@torch.no_grad()
def measured(name: str, domain: str) -> tuple[float, float]:
    """Mean square of the effective weight's entries, and the largest bias, over many draws."""
    torch.manual_seed(0)
    layer, init = layer_of(domain), packaged(name)
    squares, largest = [], 0.0
    for _ in range(DRAWS):
        init(layer)
        weight = layer.weight if domain == "dense" else layer.effective_weight()
        squares.append(float(weight.double().square().mean()))
        largest = max(largest, float(layer.bias.abs().max()))
    return sum(squares) / DRAWS, largest


def legal() -> set[tuple[str, str]]:
    """Of the layers here; those with an init of their own have it tested beside them."""
    pairs = {(name, domain) for name in NAMES for domain in packaged(name).func.domains}
    return {(name, domain) for name, domain in pairs if domain in ADAPTERS}


def test_every_packaged_init_has_its_formula_here() -> None:
    assert legal() == {*STATED, *WITHOUT_A_DRAW_OF_W}


@pytest.mark.parametrize(("name", "domain"), STATED)
def test_the_effective_weight_has_the_stated_variance(name: str, domain: str) -> None:
    variance, _ = measured(name, domain)
    assert variance == pytest.approx(STATED[name, domain][0], rel=TOLERANCE)


@pytest.mark.parametrize(("name", "domain"), STATED)
def test_the_bias_fills_its_stated_bounds(name: str, domain: str) -> None:
    bound = STATED[name, domain][1]
    _, largest = measured(name, domain)
    assert 0.99 * bound < largest <= bound * (1 + 1e-6)  # the largest of 10,000 draws


@pytest.mark.parametrize(("name", "domain"), STATED)
def test_a_layer_without_bias_can_be_started(name: str, domain: str) -> None:
    model = nn.Sequential(nn.Linear(I, O, bias=False))
    layer: Any = (ADAPTERS[domain](model, ["0"]) if ADAPTERS[domain] else model)[0]
    packaged(name)(layer)
    assert layer.bias is None
    assert all(bool(p.any()) for p in layer.parameters())


def test_the_factors_of_matched_variance_share_it_evenly() -> None:
    layer = layer_of("factorised")
    packaged("matched_variance")(layer)
    torch.testing.assert_close(layer.A.var(), layer.B.var(), rtol=0.1, atol=0)


def test_matched_variance_is_that_of_a_fresh_linear_layer() -> None:
    torch.manual_seed(0)
    weights = [nn.Linear(I, O).weight.detach() for _ in range(DRAWS)]
    variance, _ = measured("matched_variance", "factorised")
    assert variance == pytest.approx(float(torch.stack(weights).var()), rel=TOLERANCE)


def test_product_variance_is_that_of_rank_uniform() -> None:
    dense, _ = measured("product_variance", "dense")
    product, _ = measured("rank_uniform", "factorised")
    assert dense == pytest.approx(product, rel=TOLERANCE)


def test_torch_default_draws_a_dense_layer_anew() -> None:
    layer = nn.Linear(I, O)
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    packaged("torch_default")(layer)
    assert not torch.isclose(layer.weight, weight).all(dim=1).any()
    assert (layer.bias != bias).all()


def test_zero_b_starts_the_correction_at_nothing_and_its_input_factor_like_a_linear_layer() -> None:
    torch.manual_seed(0)
    layer = layer_of("adapter")
    packaged("zero_b")(layer)
    assert not layer.B.any()
    assert float(layer.A.detach().abs().max()) <= 1 / sqrt(I) * (1 + 1e-6)
    # 2400 entries: the relative standard deviation of their mean square is sqrt(0.8 / 2400) = 2 %
    assert float(layer.A.detach().square().mean()) == pytest.approx(1 / (3 * I), rel=0.1)


def test_gaussian_draws_its_input_factor_at_a_deviation_of_one_over_the_rank() -> None:
    torch.manual_seed(0)
    layer = layer_of("adapter")
    packaged("gaussian")(layer)
    assert not layer.B.any()
    # 2400 entries: the relative standard deviation of their mean square is sqrt(2 / 2400) = 3 %
    assert float(layer.A.detach().square().mean()) == pytest.approx(1 / R**2, rel=0.1)


@pytest.mark.parametrize("domain", ADAPTERS)
@pytest.mark.parametrize("name", NAMES)
def test_an_init_starts_the_layers_of_its_domains_and_refuses_all_others(
    name: str, domain: str
) -> None:
    if (name, domain) in legal():
        assert all(bool(p.isfinite().all()) for p in apply(name, domain).parameters())
        return
    with pytest.raises(ConfigError) as error:
        apply(name, domain)
    line = str(error.value)
    assert line.startswith(f"method.init={name}: starts ")
    assert f"'0' is {domain}" in line


@pytest.mark.parametrize("rank", [0, -1, 2.0])
def test_product_variance_refuses_a_rank_that_is_no_positive_integer(rank: float) -> None:
    with pytest.raises(ConfigError, match=rf"method\.init\.rank={rank}"):
        packaged("product_variance").func(nn.Linear(4, 4), rank=rank)
