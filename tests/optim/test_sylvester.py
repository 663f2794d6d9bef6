import pytest
import torch
from torch import Tensor

from lowrank_bench.optim.sylvester import Grams

SHAPES = {"tall": (9, 5, 3), "wide": (5, 9, 3), "square": (6, 6, 2), "rank 1": (4, 7, 1)}
SCALE = 1.7


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def stack(shape: tuple[int, int, int], k: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """A (k, r, n), B (k, m, r), G (k, m, n)"""
    m, n, r = shape
    return (
        torch.randn(k, r, n, dtype=torch.float64),
        torch.randn(k, m, r, dtype=torch.float64),
        torch.randn(k, m, n, dtype=torch.float64),
    )


def of_factors(A: Tensor, B: Tensor, G: Tensor, scale: float = SCALE) -> tuple[Tensor, Tensor]:  # noqa: N803
    return scale * B.mT @ G, scale * G @ A.mT


def onto_columns(B: Tensor) -> Tensor:  # noqa: N803
    return B @ torch.linalg.pinv(B)


def product(A: Tensor, B: Tensor, gh_A: Tensor, gh_B: Tensor) -> Tensor:  # noqa: N803
    return SCALE * (B @ gh_A + gh_B @ A)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_x_solves_the_sylvester_equation(shape: tuple[int, int, int]) -> None:
    A, B, G = stack(shape)
    g_A, g_B = of_factors(A, B, G)
    grams = Grams(A, B, SCALE, 0)
    C = -torch.linalg.inv(B.mT @ B) @ g_A @ A.mT / SCALE**2
    X = grams.solve(C)
    residual = B.mT @ B @ X + X @ A @ A.mT - C
    assert residual.norm() <= 1e-12 * C.norm()
    gh_A, gh_B = grams.adjusted(g_A, g_B)
    torch.testing.assert_close(gh_A, grams.plain(g_A, g_B)[0] + X @ A)
    torch.testing.assert_close(gh_B, grams.plain(g_A, g_B)[1] - B @ X)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_equivalent_gradient_has_its_closed_form_whatever_x(
    shape: tuple[int, int, int],
) -> None:
    A, B, G = stack(shape)
    g_A, g_B = of_factors(A, B, G)
    grams = Grams(A, B, SCALE, 0)
    P_B, P_A = onto_columns(B), onto_columns(A.mT)
    closed = P_B @ G + (torch.eye(shape[0]).double() - P_B) @ G @ P_A
    torch.testing.assert_close(grams.equivalent(g_A, g_B), closed)
    torch.testing.assert_close(product(A, B, *grams.adjusted(g_A, g_B)), closed)
    gh_A, gh_B = grams.plain(g_A, g_B)
    X = torch.randn(shape[2], shape[2], dtype=torch.float64)
    torch.testing.assert_close(product(A, B, gh_A + X @ A, gh_B - B @ X), closed)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_x_taken_keeps_closest_to_the_gradients_of_the_factors(
    shape: tuple[int, int, int],
) -> None:
    A, B, G = stack(shape, k=1)
    g_A, g_B = of_factors(A, B, G)
    gh_A, gh_B = Grams(A, B, SCALE, 0).adjusted(g_A, g_B)

    def distance(X: Tensor) -> float:  # noqa: N803
        moved = (gh_A + X @ A - g_A).square().sum() + (gh_B - B @ X - g_B).square().sum()
        return float(moved)

    best = distance(torch.zeros(shape[2], shape[2], dtype=torch.float64))
    for _ in range(20):
        X = 1e-3 * torch.randn(shape[2], shape[2], dtype=torch.float64)
        assert distance(X) > best


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_equivalent_gradient_has_at_most_twice_the_rank(shape: tuple[int, int, int]) -> None:
    A, B, G = stack(shape)
    equivalent = Grams(A, B, SCALE, 0).equivalent(*of_factors(A, B, G))
    assert int(torch.linalg.matrix_rank(equivalent).max()) <= 2 * shape[2]


@pytest.mark.parametrize("shape", [(5, 9, 5), (9, 5, 5), (6, 6, 6)])
def test_at_full_rank_it_is_the_gradient_of_the_weight(shape: tuple[int, int, int]) -> None:
    A, B, G = stack(shape)
    torch.testing.assert_close(Grams(A, B, SCALE, 0).equivalent(*of_factors(A, B, G)), G)


@pytest.mark.parametrize("delta", [0, 1e-8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_b_of_zero_leaves_a_and_gives_b_the_step_of_lora_fa(
    delta: float, dtype: torch.dtype
) -> None:
    A, _, G = (x.to(dtype) for x in stack((9, 5, 3)))
    B = torch.zeros(4, 9, 3, dtype=dtype)
    g_A, g_B = of_factors(A, B, G)
    gh_A, gh_B = Grams(A, B, SCALE, delta).adjusted(g_A, g_B)
    assert not gh_A.any()
    expected = g_B.double() @ torch.linalg.inv(A.double() @ A.double().mT) / SCALE**2
    torch.testing.assert_close(gh_B, expected, rtol=1e-5, atol=1e-6)


def test_factors_without_full_rank_give_finite_gradients_and_the_same_closed_form() -> None:
    A, B, G = (x.float() for x in stack((9, 5, 3)))
    B[..., 2] = B[..., 1]
    A[..., 0, :] = 0
    g_A, g_B = of_factors(A, B, G)
    gh_A, gh_B = Grams(A, B, SCALE, 0).adjusted(g_A, g_B)
    A, B, G = A.double(), B.double(), G.double()
    P_B, P_A = (onto_columns(f) for f in (B[..., :2], A[..., 1:, :].mT))
    closed = P_B @ G + (torch.eye(9).double() - P_B) @ G @ P_A
    torch.testing.assert_close(product(A, B, gh_A, gh_B), closed, rtol=1e-4, atol=1e-4)


def test_stacked_pairs_do_not_mix() -> None:
    A, B, G = stack((9, 5, 3))
    g_A, g_B = of_factors(A, B, G)
    together = Grams(A, B, SCALE, 0).adjusted(g_A, g_B)
    for i in range(4):
        alone = Grams(A[i], B[i], SCALE, 0).adjusted(g_A[i], g_B[i])
        torch.testing.assert_close(alone, (together[0][i], together[1][i]))


def test_in_single_precision_a_short_b_keeps_the_closed_form() -> None:
    """As in the first updates, when B is a learning rate long."""
    A, B, G = (x.float() for x in stack((40, 30, 4)))
    B *= 1e-4
    grams = Grams(A, B, SCALE, 0)
    found = grams.equivalent(*of_factors(A, B, G))
    P_B, P_A = onto_columns(B.double()), onto_columns(A.double().mT)
    closed = P_B @ G.double() + (torch.eye(40).double() - P_B) @ G.double() @ P_A
    assert (found - closed).norm() <= 1e-5 * closed.norm()
