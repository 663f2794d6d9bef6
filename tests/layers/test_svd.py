import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.inits.svd_gaussian import svd_gaussian
from lowrank_bench.layers.svd import SVDLinear

SHAPES = {"tall": (5, 9, 3), "wide": (9, 5, 3), "square": (6, 6, 2)}
INPUTS = {"one dimension": (), "two dimensions": (7,), "three dimensions": (2, 5)}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def started(in_features: int, out_features: int, rank: int, *, bias: bool = True) -> SVDLinear:
    base = nn.Linear(in_features, out_features, bias).requires_grad_(False)
    layer = SVDLinear(base, rank, alpha=4, dropout=0).double()
    svd_gaussian(layer, std=0.02)
    return layer


def trained(*shape: int, bias: bool = True) -> SVDLinear:
    layer = started(*shape, bias=bias)  # type: ignore[misc]
    for parameter in (layer.P, layer.lam, layer.Q):
        nn.init.normal_(parameter)
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
    by_hand = layer.base.weight + 4 / shape[2] * layer.P @ layer.lam.diag() @ layer.Q
    torch.testing.assert_close(weight, by_hand)
    torch.testing.assert_close(layer(x), F.linear(x, weight, layer.base.bias))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_gradients_are_those_through_the_dense_composition(shape: tuple[int, int, int]) -> None:
    layer = trained(*shape)
    x = torch.randn(2, 5, shape[0], dtype=torch.float64, requires_grad=True)
    layer(x).square().sum().backward()
    weight = layer.effective_weight().detach().requires_grad_()
    dense = x.detach().requires_grad_()
    F.linear(dense, weight, layer.base.bias).square().sum().backward()
    G, s = grad_of(weight), layer.scale
    torch.testing.assert_close(grad_of(layer.P), s * G @ layer.Q.T * layer.lam)
    torch.testing.assert_close(grad_of(layer.lam), s * (layer.P.T @ G @ layer.Q.T).diagonal())
    torch.testing.assert_close(grad_of(layer.Q), s * layer.lam[:, None] * (layer.P.T @ G))
    torch.testing.assert_close(grad_of(x), grad_of(dense))
    assert layer.base.weight.grad is None


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_at_the_start_the_layer_computes_exactly_what_its_base_did(
    shape: tuple[int, int, int],
) -> None:
    layer = started(*shape)
    x = torch.randn(7, shape[0], dtype=torch.float64)
    assert layer.P.all()
    assert layer.Q.all()
    assert torch.equal(layer(x), layer.base(x))


def test_the_start_has_the_deviation_it_is_told() -> None:
    layer = started(400, 300, 50)
    svd_gaussian(layer, std=0.3)
    assert float(layer.P.detach().std()) == pytest.approx(0.3, rel=0.02)
    assert float(layer.Q.detach().std()) == pytest.approx(0.3, rel=0.02)


def test_at_first_the_task_reaches_the_singular_values_alone() -> None:
    layer = started(6, 5, 2)
    layer(torch.randn(7, 6, dtype=torch.float64)).square().sum().backward()
    assert grad_of(layer.lam).all()
    assert not grad_of(layer.P).any()
    assert not grad_of(layer.Q).any()


def test_merging_preserves_the_output_and_resets_the_correction() -> None:
    layer = trained(6, 5, 2)
    x = torch.randn(7, 6, dtype=torch.float64)
    before = layer(x)
    layer.merge_()
    torch.testing.assert_close(layer(x), before)
    torch.testing.assert_close(layer.base(x), before)
    assert not layer.lam.any()
    assert layer.P.all()


def test_a_pruned_layer_computes_the_same_when_it_is_compacted() -> None:
    layer = trained(9, 7, 5)
    with torch.no_grad():
        layer.lam[[0, 3]] = 0
    x = torch.randn(4, 9, dtype=torch.float64)
    before, scale = layer(x), layer.scale
    layer.compact_()
    assert (layer.rank, layer.scale) == (3, scale)  # not alpha / 3
    assert [tuple(p.shape) for p in (layer.P, layer.lam, layer.Q)] == [(7, 3), (3,), (3, 9)]
    torch.testing.assert_close(layer(x), before)


def test_a_layer_without_a_triplet_left_is_its_base() -> None:
    layer = trained(9, 7, 5)
    layer.reset_()
    layer.compact_()
    x = torch.randn(2, 3, 9, dtype=torch.float64)
    assert layer.rank == 0
    assert torch.equal(layer(x), layer.base(x))


def test_the_mask_survives_a_checkpoint() -> None:
    layer, other = trained(6, 5, 3), trained(6, 5, 3)
    layer.active[1] = False
    other.load_state_dict(layer.state_dict())
    assert other.active.tolist() == [True, False, True]
    assert other.active_rank == 2


@pytest.mark.parametrize(("rank", "factor", "initial"), [(8, 1.5, 12), (3, 1.5, 5), (10, 1.1, 11)])
def test_a_layer_begins_larger_than_its_budget(rank: int, factor: float, initial: int) -> None:
    layer = SVDLinear.replacing(nn.Linear(4, 4), rank, factor, alpha=24, dropout=0)
    assert layer.rank == initial
    assert layer.scale == 24 / initial


@pytest.mark.parametrize("factor", [0.9, "much", None, True, float("nan"), float("inf")])
def test_a_factor_that_would_shrink_the_rank_is_refused(factor: object) -> None:
    with pytest.raises(ConfigError, match=rf"method\.adapter\.rank_factor={factor}: "):
        SVDLinear.replacing(nn.Linear(4, 4), 2, factor, alpha=4, dropout=0)


@pytest.mark.parametrize("rank", [0, -1, 2.0, None])
def test_a_rank_that_is_no_positive_integer_is_refused(rank: object) -> None:
    with pytest.raises(ConfigError, match=rf"method\.adapter\.rank={rank}: .*positive integer"):
        SVDLinear.replacing(nn.Linear(4, 4), rank, 1.5, alpha=4, dropout=0)


@pytest.mark.reference
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_output_and_gradients_are_those_of_peft(shape: tuple[int, int, int]) -> None:
    import peft

    layer = trained(*shape).float()
    config = peft.AdaLoraConfig(
        init_r=shape[2], target_r=1, lora_alpha=4, total_step=9, target_modules=["0"]
    )
    model = nn.Sequential(nn.Linear(shape[0], shape[1]))
    model[0].load_state_dict(layer.base.state_dict())
    adapted = peft.get_peft_model(model, config)
    their = {n.split(".")[-2]: p for n, p in adapted.named_parameters() if "lora_" in n}
    ours = {"lora_A": layer.Q, "lora_E": layer.lam, "lora_B": layer.P}
    with torch.no_grad():
        for name, parameter in ours.items():
            their[name].copy_(parameter.view_as(their[name]))
    x = torch.randn(7, shape[0], requires_grad=True)
    z = x.detach().clone().requires_grad_()
    layer(x).square().sum().backward()
    adapted(z).square().sum().backward()
    torch.testing.assert_close(layer(x), adapted(z), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(grad_of(x), grad_of(z), rtol=1e-5, atol=1e-4)
    for name, parameter in ours.items():
        expected = grad_of(their[name]).view_as(parameter)
        drift = (grad_of(parameter) - expected).norm() / expected.norm()
        assert drift <= 2e-5, name  # twice: the scale's own 1e-5 / r enters output and gradient
