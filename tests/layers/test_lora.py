from math import sqrt

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.inits.zero_b import zero_b
from lowrank_bench.layers.lora import LoRALinear

SHAPES = {"tall": (5, 9, 3), "wide": (9, 5, 3), "square": (6, 6, 2)}
INPUTS = {"two dimensions": (7,), "three dimensions": (2, 5)}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def started(
    in_features: int, out_features: int, rank: int, *, bias: bool = True, dropout: float = 0
) -> LoRALinear:
    """At its packaged start, in float64, so that only a wrong formula is beyond the tolerance."""
    base = nn.Linear(in_features, out_features, bias).requires_grad_(False)
    layer = LoRALinear(base, rank, alpha=4, dropout=dropout).double()
    zero_b(layer)
    return layer


def trained(*shape: int, **options: bool | float) -> LoRALinear:
    """With both factors other than zero."""
    layer = started(*shape, **options)  # type: ignore[arg-type]
    nn.init.normal_(layer.B)
    return layer


def grad_of(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("leading", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward_is_that_of_the_dense_effective_weight(
    shape: tuple[int, int, int], leading: tuple[int, ...], bias: bool
) -> None:
    layer = trained(*shape, bias=bias)
    x = torch.randn(*leading, shape[0], dtype=torch.float64)
    weight = layer.effective_weight()
    assert weight.shape == (shape[1], shape[0])
    torch.testing.assert_close(layer(x), F.linear(x, weight, layer.base.bias))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_gradients_of_the_factors_are_those_through_the_dense_composition(
    shape: tuple[int, int, int],
) -> None:
    layer = trained(*shape)
    x = torch.randn(2, 5, shape[0], dtype=torch.float64)
    layer(x).square().sum().backward()
    weight = layer.effective_weight().detach().requires_grad_()
    F.linear(x, weight, layer.base.bias).square().sum().backward()
    torch.testing.assert_close(grad_of(layer.B), layer.scale * grad_of(weight) @ layer.A.T)
    torch.testing.assert_close(grad_of(layer.A), layer.scale * layer.B.T @ grad_of(weight))
    assert layer.base.weight.grad is None


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_correction_has_at_most_the_rank_of_the_layer(shape: tuple[int, int, int]) -> None:
    layer = trained(*shape)
    correction = layer.effective_weight() - layer.base.weight
    assert torch.linalg.matrix_rank(correction) == shape[2]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_at_the_start_the_layer_computes_exactly_what_its_base_did(
    shape: tuple[int, int, int],
) -> None:
    layer = started(*shape)
    x = torch.randn(7, shape[0], dtype=torch.float64)
    assert layer.A.abs().min() > 0
    assert torch.equal(layer(x), layer.base(x))
    assert torch.equal(layer.effective_weight(), layer.base.weight)


def test_while_b_is_zero_a_gets_a_gradient_of_exactly_zero() -> None:
    layer = started(6, 5, 2)
    layer(torch.randn(7, 6, dtype=torch.float64)).square().sum().backward()
    assert not grad_of(layer.A).any()
    assert grad_of(layer.B).all()


def test_the_first_adam_step_moves_b_and_leaves_a() -> None:
    layer = started(6, 5, 2)
    before = layer.A.detach().clone()
    optimizer = torch.optim.AdamW([layer.A, layer.B], lr=0.1, weight_decay=0)
    layer(torch.randn(7, 6, dtype=torch.float64)).square().sum().backward()
    optimizer.step()
    assert torch.equal(layer.A, before)
    assert layer.B.all()


def test_merging_preserves_the_output_and_resets_the_correction() -> None:
    layer = trained(6, 5, 2)
    x = torch.randn(7, 6, dtype=torch.float64)
    before, base_before = layer(x), layer.base(x)
    layer.merge_()
    torch.testing.assert_close(layer(x), before)
    torch.testing.assert_close(layer.base(x), before)
    assert not torch.allclose(layer.base(x), base_before)
    assert not layer.B.any()
    assert layer.A.all()  # else neither factor would ever get a gradient again


def test_resetting_leaves_the_base() -> None:
    layer = trained(6, 5, 2)
    x = torch.randn(7, 6, dtype=torch.float64)
    base = layer.base.weight.clone()
    layer.reset_()
    assert torch.equal(layer.base.weight, base)
    assert torch.equal(layer(x), layer.base(x))


@pytest.mark.parametrize(("alpha", "rank", "scale"), [(16, 8, 2.0), (1, 4, 0.25), (0.5, 1, 0.5)])
def test_the_scale_is_alpha_over_rank(alpha: float, rank: int, scale: float) -> None:
    layer = LoRALinear(nn.Linear(9, 9), rank, alpha, 0)
    nn.init.ones_(layer.A)
    nn.init.ones_(layer.B)
    assert layer.scale == scale
    added = layer.effective_weight() - layer.base.weight  # every entry is s r
    torch.testing.assert_close(added, torch.full((9, 9), scale * rank))


@pytest.mark.parametrize("rank", [1, 4, 7])
def test_stabilised_lora_is_lora_with_alpha_times_the_root_of_the_rank(rank: int) -> None:
    base = nn.Linear(9, 9)
    stabilised = LoRALinear(base, rank, alpha=3, dropout=0, rank_stabilized=True)
    assert stabilised.scale == pytest.approx(3 / sqrt(rank))
    assert stabilised.scale == pytest.approx(LoRALinear(base, rank, 3 * sqrt(rank), 0).scale)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_beyond_the_rank_the_merged_change_has_no_singular_values(
    shape: tuple[int, int, int],
) -> None:
    layer = trained(*shape).float()
    values = torch.linalg.svdvals((layer.scale * layer.B @ layer.A).detach())
    assert float(values[shape[2] :].max()) <= 1e-6 * float(values[0])


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_what_merging_adds_can_be_taken_away_again(shape: tuple[int, int, int]) -> None:
    layer = trained(*shape).float()
    weight = layer.base.weight.clone()
    change = layer.delta().detach()
    layer.merge_()
    bound = 2 * torch.finfo(torch.float32).eps * (weight.abs() + change.abs())
    assert ((layer.base.weight - change - weight).abs() <= bound).all()


def test_it_trains_the_factors_alone() -> None:
    layer = LoRALinear(nn.Linear(784, 512).requires_grad_(False), 8, 16, 0)
    assert sum(p.numel() for p in layer.parameters() if p.requires_grad) == 10_368


def test_the_correction_is_added_under_autocast() -> None:
    layer = trained(6, 5, 2).float()
    x = torch.randn(2, 7, 6)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer(x), rtol=0.05, atol=0.1)


def test_dropout_acts_on_the_correction_alone_and_only_in_training() -> None:
    layer = trained(6, 5, 2, dropout=0.5)
    x = torch.randn(7, 6, dtype=torch.float64)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    torch.testing.assert_close(layer(x), F.linear(x, layer.effective_weight(), layer.base.bias))
    layer.train().reset_()
    assert torch.equal(layer(x), layer.base(x))


@pytest.mark.parametrize("rank", [0, -1, 2.0, "2", None])
def test_a_rank_that_is_no_positive_integer_is_refused(rank: object) -> None:
    with pytest.raises(ConfigError, match=rf"method\.adapter\.rank={rank}: .*positive integer"):
        LoRALinear(nn.Linear(4, 4), rank, 16, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("dropout", [-0.1, 1, 1.5, float("nan")])
def test_a_dropout_outside_its_range_is_refused(dropout: float) -> None:
    with pytest.raises(ConfigError, match=rf"method\.adapter\.dropout={dropout}"):
        LoRALinear(nn.Linear(4, 4), 2, 16, dropout)


def test_adapt_keeps_the_very_layers_that_it_wraps() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.Sequential(nn.Linear(5, 6).to(torch.float64)))
    untouched, base = model[0], model.get_submodule("1.0")
    adapted = LoRALinear.adapt(model, ["1.0"], rank=2, alpha=16, dropout=0)
    layer = model.get_submodule("1.0")
    assert adapted is model
    assert model[0] is untouched
    assert isinstance(layer, LoRALinear)
    assert layer.base is base
    assert layer.A.dtype == layer.B.dtype == torch.float64
