from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lowrank_bench.linalg_flops import MAPPING

# By operation: what is called, on matrices of which shapes, and the formula written out
CASES: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]], int]] = {
    "svd tall": (
        lambda a: torch.linalg.svd(a, full_matrices=False),
        [(50, 10)],
        6 * 50 * 10**2 + 20 * 10**3,
    ),
    "svd wide": (
        lambda a: torch.linalg.svd(a, full_matrices=False),
        [(10, 50)],
        6 * 50 * 10**2 + 20 * 10**3,
    ),
    "svd full": (torch.linalg.svd, [(50, 10)], 4 * 50**2 * 10 + 22 * 10**3),
    # svdvals and eigvalsh ask for vectors too while a counter looks on
    "svd values": (
        lambda a: torch.ops.aten._linalg_svd(a, False, False),
        [(50, 10)],
        2 * 50 * 10**2 + 2 * 10**3,
    ),
    "svd of three": (
        lambda a: torch.linalg.svd(a, full_matrices=False),
        [(3, 50, 10)],
        3 * (6 * 50 * 10**2 + 20 * 10**3),
    ),
    "qr": (torch.linalg.qr, [(60, 30)], 4 * 30**2 * (60 - 10)),
    "qr wide": (torch.linalg.qr, [(30, 60)], 8 * 30**3 // 3 + 2 * 30**2 * 30),
    "r alone": (lambda a: torch.linalg.qr(a, mode="r"), [(60, 30)], 2 * 30**2 * (60 - 10)),
    "eigh": (lambda a: torch.linalg.eigh(a @ a.mT), [(30, 30)], 9 * 30**3 + 2 * 30**3),
    "eigenvalues": (
        lambda a: torch.ops.aten._linalg_eigh(a, "L", False),
        [(30, 30)],
        4 * 30**3 // 3,
    ),
    "inverse": (torch.linalg.inv, [(30, 30)], 2 * 30**3),
    "solve": (torch.linalg.solve, [(30, 30), (30, 7)], 2 * 30**3 // 3 + 2 * 30**2 * 7),
    "solve, one side": (torch.linalg.solve, [(30, 30), (30,)], 2 * 30**3 // 3 + 2 * 30**2),
    "cholesky": (
        lambda a: torch.linalg.cholesky(a @ a.mT + 99 * torch.eye(30)),
        [(30, 30)],
        30**3 // 3 + 2 * 30**3,
    ),
    "triangular": (
        lambda a, b: torch.linalg.solve_triangular(a, b, upper=True),
        [(30, 30), (30, 7)],
        30**2 * 7,
    ),
    "matrix by vector": (torch.mv, [(50, 10), (10,)], 2 * 50 * 10),
    "dot": (torch.dot, [(50,), (50,)], 100),
}


def operands(shapes: list[tuple[int, ...]]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator) for shape in shapes]


@pytest.mark.parametrize(("act", "shapes", "expected"), CASES.values(), ids=CASES)
def test_torchs_counter_counts_it_by_the_mapping(
    act: Callable[..., Any], shapes: list[tuple[int, ...]], expected: int
) -> None:
    with FlopCounterMode(display=False, custom_mapping=MAPPING) as counter:
        act(*operands(shapes))
    assert counter.get_total_flops() == expected


def test_without_the_mapping_an_svd_is_free() -> None:
    with FlopCounterMode(display=False) as counter:
        torch.linalg.svd(*operands([(50, 10)]))
    assert counter.get_total_flops() == 0


def test_the_backward_pass_of_a_solution_counts() -> None:
    a, b = operands([(30, 30), (30, 7)])
    a.requires_grad_(True)
    with FlopCounterMode(display=False, custom_mapping=MAPPING) as counter:
        torch.linalg.solve(a, b).sum().backward()
    forward = 2 * 30**3 // 3 + 2 * 30**2 * 7
    # the LU factors solve the transposed system too, and an outer product makes the gradient
    assert counter.get_total_flops() == forward + 2 * 30**2 * 7 + 2 * 30**2 * 7


def test_shapes_are_enough() -> None:
    with FlopCounterMode(display=False, custom_mapping=MAPPING) as counter:
        torch.linalg.svd(torch.empty(50, 10, device="meta"), full_matrices=False)
    assert counter.get_total_flops() == 6 * 50 * 10**2 + 20 * 10**3
