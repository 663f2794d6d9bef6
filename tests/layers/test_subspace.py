import copy
from math import sqrt

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.inits.subspace import subspace
from lowrank_bench.layers.subspace import SubspaceLinear
from lowrank_bench.method import Method
from lowrank_bench.roles import count_by_role

D = 5
PROJECTIONS = ["fastfood", "dense"]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 9, bias=False), nn.ReLU(), nn.Linear(9, 4))
    return nn.Sequential(*layers).double()


def method(seed: int = 0, projection: str = "fastfood") -> Method:
    return Method(
        seed=seed,
        name="subspace",
        targets=["*"],
        trainable=["*.z"],
        adapter=lambda model, names: SubspaceLinear.adapt(
            model, names, dimension=D, projection=projection
        ),
        init=subspace,
        optimizer=torch.optim.AdamW,
        schedule=lambda optimizer, _: optimizer,
    )


def adapted(seed: int = 0, projection: str = "fastfood") -> nn.Module:
    return method(seed, projection).apply(network())


def layers_of(model: nn.Module) -> list[SubspaceLinear]:
    return [m for m in model.modules() if isinstance(m, SubspaceLinear)]


def z_of(model: nn.Module) -> nn.Parameter:
    return layers_of(model)[0].z


def theta(model: nn.Module) -> Tensor:
    """All weights and biases of the model, layer by layer."""
    return torch.cat([t.flatten() for m in layers_of(model) for t in m._moved() if t is not None])


def projection_of(model: nn.Module) -> Tensor:
    """The whole P (D, d), from what each unit of z does to the weights."""
    origin, columns = theta(model).detach(), []
    for unit in torch.eye(D, dtype=torch.float64):
        z_of(model).data.copy_(unit)
        columns.append(theta(model).detach() - origin)
    z_of(model).data.zero_()
    return torch.stack(columns, 1)


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_at_the_start_the_model_computes_what_it_did(projection: str) -> None:
    model = adapted(projection=projection)
    x = torch.randn(7, 6, dtype=torch.float64)
    assert torch.equal(model(x), network()(x))
    assert not z_of(model).any()


def test_one_z_of_d_elements_is_all_that_trains() -> None:
    model = adapted()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert list(trained) == ["0.z"]
    assert trained["0.z"].shape == (D,)
    assert count_by_role(model) == {"subspace": D}
    assert len({id(layer.z) for layer in layers_of(model)}) == 1
    assert [len(group["params"]) for group in method().optimizer(model).param_groups] == [1]


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_weights_and_biases_are_a_linear_function_of_z(projection: str) -> None:
    model = adapted(projection=projection)
    P, origin = projection_of(model), theta(model).detach()
    z_of(model).data.normal_()
    torch.testing.assert_close(theta(model), origin + P @ z_of(model))
    assert len(P) == 6 * 9 + 9 + 81 + 9 * 4 + 4


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_the_columns_have_norm_one_over_the_model(projection: str) -> None:
    model = adapted(projection=projection)
    norms = projection_of(model).norm(dim=0)
    assert (norms - 1).abs().max() < (0.1 if projection == "fastfood" else 1e-5)
    assert [layer.share for layer in layers_of(model)] == [sqrt(n / 184) for n in (63, 81, 40)]


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_the_gradient_of_z_is_that_of_all_weights_projected_back(projection: str) -> None:
    model, dense = adapted(projection=projection), network()
    x, y = torch.randn(7, 6, dtype=torch.float64), torch.randint(4, (7,))
    F.cross_entropy(model(x), y).backward()
    F.cross_entropy(dense(x), y).backward()
    G = torch.cat([p.grad.flatten() for p in dense.parameters() if p.grad is not None])
    assert z_of(model).grad is not None
    torch.testing.assert_close(z_of(model).grad, projection_of(model).T @ G)


@pytest.mark.parametrize("leading", [(7,), (2, 5)])
def test_forward_is_that_of_the_dense_effective_weight(leading: tuple[int, ...]) -> None:
    model = adapted()
    z_of(model).data.normal_()
    layer = layers_of(model)[1]  # without a bias
    x = torch.randn(*leading, 9, dtype=torch.float64)
    torch.testing.assert_close(layer(x), F.linear(x, layer.effective_weight()))


def test_the_seed_of_the_run_decides_the_projection() -> None:
    first, again, other = (projection_of(adapted(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_layers_of_one_size_do_not_share_rows() -> None:
    model = nn.Sequential(nn.Linear(9, 9), nn.Linear(9, 9)).double()
    model = method().apply(model)
    P = projection_of(model)
    assert not torch.allclose(P[:90], P[90:])


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_a_checkpoint_restores_the_projection_that_it_was_made_with(projection: str) -> None:
    model, other = adapted(1, projection), adapted(2, projection)
    z_of(model).data.normal_()
    x = torch.randn(7, 6, dtype=torch.float64)
    state = copy.deepcopy(model.state_dict())
    assert not any("projection" in name for name in state)  # a seed, where P would be large
    other.load_state_dict(state)
    assert torch.equal(other(x), model(x))


def test_merging_one_layer_keeps_the_function_and_the_others() -> None:
    model = adapted()
    z_of(model).data.normal_()
    x, z = torch.randn(7, 6, dtype=torch.float64), z_of(model).detach().clone()
    before, others = model(x), [layer.effective_weight() for layer in layers_of(model)[1:]]
    first = layers_of(model)[0]
    first.merge_()
    torch.testing.assert_close(model(x), before)
    assert torch.equal(first.effective_weight(), first.base.weight)
    assert torch.equal(first(x), first.base(x))
    for layer, weight in zip(layers_of(model)[1:], others, strict=True):
        assert torch.equal(layer.effective_weight(), weight)
    assert torch.equal(z_of(model), z)


def test_it_learns_in_a_subspace_that_is_large_enough() -> None:
    model = SubspaceLinear.adapt(network(), ["0", "2", "4"], dimension=100, projection="fastfood")
    model.requires_grad_(False)
    for seed, layer in enumerate(layers_of(model)):
        subspace(layer)
        layer.draw(seed)
    z = z_of(model).requires_grad_(True)
    x, y = torch.randn(20, 6, dtype=torch.float64), torch.randint(4, (20,))
    optimizer = torch.optim.Adam([z], lr=0.1)
    first = last = F.cross_entropy(model(x), y)
    for _ in range(100):
        optimizer.zero_grad()
        last = F.cross_entropy(model(x), y)
        last.backward()
        optimizer.step()
    assert last < 0.2 * first


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"dimension": 0}, r"method\.adapter\.dimension=0: .*positive"),
        ({"projection": "sparse"}, r"method\.adapter\.projection=sparse: must be one of fastfood"),
        ({"rank": 3}, r"method\.adapter\.rank: SubspaceLinear has no 'rank'"),
    ],
)
def test_wrong_settings_are_refused(change: dict[str, object], complaint: str) -> None:
    settings = {"dimension": 2, "projection": "dense"} | change
    with pytest.raises(ConfigError, match=complaint):
        SubspaceLinear.adapt(nn.Sequential(nn.Linear(4, 4)), ["0"], **settings)
