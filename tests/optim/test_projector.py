import pytest
import torch

from lowrank_bench.errors import ConfigError
from lowrank_bench.optim.projector import BASES, SIDES, Projector

SHAPES = {"tall": (12, 7), "wide": (7, 12), "square": (8, 8)}


def gradient(shape: tuple[int, int], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)


def projector(side: str = "std", basis: str = "svd", rank: int = 3) -> Projector:
    return Projector(rank=rank, update_gap=5, side=side, basis=basis)


@pytest.mark.parametrize(
    ("side", "shape", "expected"),
    [
        ("std", "tall", (12, 3)),
        ("std", "wide", (3, 12)),
        ("std", "square", (8, 3)),
        ("reverse_std", "tall", (3, 7)),
        ("reverse_std", "wide", (7, 3)),
        ("reverse_std", "square", (3, 8)),
        ("left", "tall", (3, 7)),
        ("left", "wide", (3, 12)),
        ("right", "tall", (12, 3)),
        ("right", "wide", (7, 3)),
        ("full", "tall", (3, 3)),
        ("full", "wide", (3, 3)),
    ],
)
@pytest.mark.parametrize("basis", BASES)
def test_each_side_projects_what_it_says(
    side: str, shape: str, expected: tuple[int, int], basis: str
) -> None:
    G = gradient(SHAPES[shape])
    assert projector(side, basis).renew(G, 0).project(G).shape == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("basis", ["svd", "randomized_svd"])
@pytest.mark.parametrize("side", SIDES)
def test_a_basis_is_orthonormal_and_in_the_type_of_the_gradient(
    side: str, basis: str, dtype: torch.dtype
) -> None:
    for shape in SHAPES.values():
        projection = projector(side, basis).renew(gradient(shape, dtype), 0)
        bound = 1e-2 if dtype is torch.bfloat16 else 1e-5
        assert projection.orthonormality() < bound
        assert {each.dtype for each in projection if each is not None} == {dtype}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("side", SIDES)
def test_what_an_svd_leaves_out_is_the_smaller_singular_values(
    side: str, shape: tuple[int, int]
) -> None:
    G = gradient(shape)
    projection = projector(side).renew(G, 0)
    rest = G.clone()
    projection.add_back_(rest, projection.project(G), -1.0)
    smaller = torch.linalg.svdvals(G)[3:].square().sum()
    assert torch.allclose(rest.square().sum(), smaller, rtol=1e-4)


def test_a_randomized_svd_finds_the_space_where_there_is_one() -> None:
    generator = torch.Generator().manual_seed(0)
    U, _, Vh = torch.linalg.svd(torch.randn(40, 40, generator=generator))
    G = (U * torch.logspace(0, -6, 40)) @ Vh
    exact = projector("left").renew(G, 0).P
    near = projector("left", "randomized_svd").renew(G, 0).P
    assert exact is not None
    assert near is not None
    assert torch.linalg.svdvals(exact.mT @ near).min() > 1 - 1e-4


@pytest.mark.parametrize("basis", ["randomized_svd", "gaussian"])
def test_what_is_drawn_depends_on_the_seed_alone(basis: str) -> None:
    G = gradient((20, 18))
    torch.manual_seed(1)
    first = projector("full", basis).renew(G, 7)
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    again, other = projector("full", basis).renew(G, 7), projector("full", basis).renew(G, 8)
    assert torch.equal(state, torch.random.get_rng_state())
    for one, same, different in zip(first, again, other, strict=True):
        assert one is not None
        assert same is not None
        assert different is not None
        assert torch.equal(one, same)
        assert not torch.equal(one, different)


def test_a_gaussian_keeps_norms_in_expectation() -> None:
    G = gradient((400, 300))
    P = projector("left", "gaussian", rank=64).renew(G, 0).P
    assert P is not None
    assert float(P.square().mean() * 64) == pytest.approx(1, rel=0.05)


def test_a_rank_above_the_smaller_side_is_that_side() -> None:
    G = gradient((12, 7))
    assert projector(rank=50).renew(G, 0).project(G).shape == (12, 7)


def test_a_basis_keeps_nothing_alive_beside_itself() -> None:
    projection = projector("full").renew(gradient((12, 7)), 0)
    for each in projection:
        assert each is not None
        assert each.untyped_storage().nbytes() == each.numel() * 4
        assert each.is_contiguous()


def test_a_gradient_that_is_not_finite_is_projected_all_the_same() -> None:
    G = torch.full((12, 7), torch.nan)
    assert projector().renew(G, 0).project(G).isnan().all()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rank", 0),
        ("rank", 2.5),
        ("update_gap", 0),
        ("update_gap", 0.5),
        ("side", "up"),
        ("basis", "qr"),
    ],
)
def test_a_setting_that_is_none_is_named(key: str, value: object) -> None:
    settings = {"rank": 3, "update_gap": 5} | {key: value}
    with pytest.raises(ConfigError, match=rf"method\.transform\.{key}={value}"):
        Projector(**settings)  # type: ignore[arg-type]
