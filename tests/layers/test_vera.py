import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.inits.vera import vera
from lowrank_bench.layers.vera import VeRALinear

SHAPES = {"tall": (5, 9, 3), "wide": (9, 5, 3), "over-ranked": (6, 6, 20)}
INPUTS = {"two dimensions": (7,), "three dimensions": (2, 5)}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def started(*shape: int, bias: bool = True, dropout: float = 0) -> VeRALinear:
    """At its packaged start, in float64, so that only a wrong formula is beyond the tolerance."""
    in_features, out_features, rank = shape
    base = nn.Linear(in_features, out_features, bias).requires_grad_(False)
    layer = VeRALinear.replacing(base, rank, dropout).double()
    vera(layer, d_initial=0.1)
    return layer


def trained(*shape: int, **options: Any) -> VeRALinear:
    layer = started(*shape, **options)
    nn.init.normal_(layer.lambda_b)
    nn.init.normal_(layer.lambda_d)
    return layer


def adapted(*sizes: int, seed: int = 0) -> Any:
    model = nn.Sequential(*(nn.Linear(i, o) for i, o in pairwise(sizes)))
    names = [name for name, _ in model.named_children()]
    return VeRALinear.adapt(model, names, rank=3, dropout=0, projection_seed=seed)


def grad_of(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("leading", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward_is_that_of_the_formula_and_of_the_dense_effective_weight(
    shape: tuple[int, int, int], leading: tuple[int, ...], bias: bool
) -> None:
    layer = trained(*shape, bias=bias)
    x = torch.randn(*leading, shape[0], dtype=torch.float64)
    weight = layer.base.weight + layer.lambda_b.diag() @ layer.B @ layer.lambda_d.diag() @ layer.A
    torch.testing.assert_close(layer(x), F.linear(x, weight, layer.base.bias))
    torch.testing.assert_close(layer.effective_weight(), weight)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_at_the_start_the_layer_computes_exactly_what_its_base_did(
    shape: tuple[int, int, int],
) -> None:
    layer = started(*shape)
    x = torch.randn(7, shape[0], dtype=torch.float64)
    assert torch.equal(layer(x), layer.base(x))
    assert torch.equal(layer.effective_weight(), layer.base.weight)
    assert (layer.lambda_d == 0.1).all()


def test_while_lambda_b_is_zero_lambda_d_gets_a_gradient_of_exactly_zero() -> None:
    layer = started(6, 5, 3)
    layer(torch.randn(7, 6, dtype=torch.float64)).square().sum().backward()
    assert not grad_of(layer.lambda_d).any()
    assert grad_of(layer.lambda_b).all()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_merging_preserves_the_output_and_resets_the_correction(
    shape: tuple[int, int, int],
) -> None:
    layer = trained(*shape)
    x = torch.randn(7, shape[0], dtype=torch.float64)
    before = layer(x)
    layer.merge_()
    torch.testing.assert_close(layer.base(x), before)
    assert torch.equal(layer(x), layer.base(x))


def test_dropout_acts_on_the_correction_alone_and_only_in_training() -> None:
    layer = trained(6, 5, 3, dropout=0.5)
    x = torch.randn(7, 6, dtype=torch.float64)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    torch.testing.assert_close(layer(x), F.linear(x, layer.effective_weight(), layer.base.bias))
    layer.train().reset_()
    assert torch.equal(layer(x), layer.base(x))


def test_layers_share_one_storage_as_large_as_the_largest() -> None:
    model = adapted(4, 9, 2, 5)
    for layer in model:
        assert layer.A.untyped_storage().data_ptr() == model[0].A.untyped_storage().data_ptr()
        assert layer.B.untyped_storage().data_ptr() == model[0].B.untyped_storage().data_ptr()
    assert model[0].projection.A.shape == (3, 9)
    assert model[0].projection.B.shape == (9, 3)
    assert torch.equal(model[0].A, model[1].A[:, :4])
    assert torch.equal(model[1].B, model[0].B[:2])


@pytest.mark.parametrize("move", [copy.deepcopy, lambda m: m.to(torch.float64)])
def test_a_copy_and_a_move_leave_one_storage(move: Any) -> None:
    model = move(adapted(4, 9, 2, 5))
    assert len({layer.A.untyped_storage().data_ptr() for layer in model}) == 1
    assert len({layer.A.dtype for layer in model}) == 1


def test_the_state_of_a_layer_beside_its_base_is_its_lambdas() -> None:
    own = [name for name in adapted(4, 9, 2).state_dict() if "base" not in name]
    assert own == ["0.lambda_b", "0.lambda_d", "1.lambda_b", "1.lambda_d"]
    assert {name for name, _ in adapted(4, 9, 2).named_parameters() if "base" not in name} == {*own}


def test_the_shared_factors_come_back_from_their_seed_alone() -> None:
    first = adapted(4, 9, 2, seed=5)
    torch.manual_seed(123)
    again, other = adapted(4, 9, 2, seed=5), adapted(4, 9, 2, seed=6)
    assert torch.equal(first[0].projection.A, again[0].projection.A)
    assert torch.equal(first[0].projection.B, again[0].projection.B)
    assert not torch.equal(first[0].projection.A, other[0].projection.A)


def test_drawing_the_shared_factors_leaves_the_global_generator() -> None:
    base = nn.Linear(4, 5)
    before = torch.get_rng_state()
    VeRALinear.adapt(nn.Sequential(base), ["0"], rank=3, dropout=0, projection_seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_shared_factors_have_the_variance_of_kaiming_by_their_largest_width() -> None:
    layer = VeRALinear.replacing(nn.Linear(500, 400), 100, 0)
    assert float(layer.A.square().mean()) == pytest.approx(2 / 500, rel=0.02)
    assert float(layer.B.square().mean()) == pytest.approx(2 / 100, rel=0.02)
    assert float(layer.A.abs().max()) == pytest.approx((6 / 500) ** 0.5, rel=1e-3)


def test_targets_of_two_types_keep_theirs() -> None:
    model: Any = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 6).double())
    VeRALinear.adapt(model, ["0", "1"], rank=3, dropout=0, projection_seed=0)
    for layer, kind in zip(model, (torch.float32, torch.float64), strict=True):
        assert layer.A.dtype == layer.lambda_b.dtype == layer.base.weight.dtype == kind


def test_it_trains_one_number_an_output_and_one_a_rank() -> None:
    layer = VeRALinear.replacing(nn.Linear(784, 512).requires_grad_(False), 8, 0)
    assert sum(p.numel() for p in layer.parameters() if p.requires_grad) == 520


@pytest.mark.parametrize("rank", [0, -1, 2.0, "2", None])
def test_a_rank_that_is_no_positive_integer_is_refused(rank: Any) -> None:
    with pytest.raises(ConfigError, match=rf"method\.adapter\.rank={rank}: .*positive integer"):
        VeRALinear.adapt(nn.Sequential(nn.Linear(4, 4)), ["0"], rank=rank, dropout=0)


@pytest.mark.parametrize("dropout", [-0.1, 1])
def test_a_dropout_outside_its_range_is_refused(dropout: float) -> None:
    with pytest.raises(ConfigError, match=rf"method\.adapter\.dropout={dropout}"):
        VeRALinear.replacing(nn.Linear(4, 4), 2, dropout)


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"rank": 2}, "dropout: is missing"), ({"rank": 2, "dropout": 0, "alpha": 1}, "no 'alpha'")],
)
def test_a_setting_that_is_missing_or_unknown_is_named(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        VeRALinear.adapt(nn.Sequential(nn.Linear(4, 4)), ["0"], **settings)
