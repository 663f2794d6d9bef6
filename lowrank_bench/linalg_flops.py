"""Floating point operations of the linear algebra that torch's own counter passes over.

`MAPPING` goes into torch.utils.flop_counter.FlopCounterMode(custom_mapping=MAPPING); its entries
are called as those of torch's `flop_registry`: (*arguments, out_val=outcome, **options). As there,
a multiplication and an addition are two operations, and formulas see shapes alone. What iterates
(an SVD, an eigendecomposition) is counted at the usual number of iterations; the terms of lower
order are left out. Work that grows with the entries only, as AdamW's, counts nothing, as in torch.

Source: Golub & Van Loan 2013, Matrix Computations, 4th edition; sections stand beside formulas.
Differs: LAPACK's SVD divides and conquers, which is less work than counted here, by how much
depends on the matrix.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry, shape_wrapper

Shape = Sequence[int]
aten = torch.ops.aten


def svd_flops(a: Shape, full_matrices: bool = False, compute_uv: bool = True, **_: Any) -> int:
    """Singular values and the first min(m, n) vectors of both sides of A (..., m, n).

    For m >= n, by way of QR (section 8.6): 6 m n^2 + 20 n^3; the values alone 2 m n^2 + 2 n^3;
    all m left vectors 4 m^2 n + 22 n^3.
    """
    m, n = _tall(a)
    if not compute_uv:
        return _batch(a) * (2 * m * n**2 + 2 * n**3)
    if full_matrices and m > n:
        return _batch(a) * (4 * m**2 * n + 22 * n**3)
    return _batch(a) * (6 * m * n**2 + 20 * n**3)


def qr_flops(a: Shape, mode: str = "reduced", **_: Any) -> int:
    """R of A (..., m, n) by Householder's reflections, 2 k^2 (l - k/3), l the longer side, k the
    shorter (section 5.2), and as much again for the first k columns of Q (section 5.1).

    A wide A has further columns, to which the reflections are applied: 2 m^2 (n - m).
    """
    *_lead, m, n = a
    k = min(m, n)
    factor = 2 * k**2 * (3 * m - k) // 3
    if n > m:
        factor += 2 * (n - m) * m**2
    if mode == "r":
        return _batch(a) * factor
    if mode == "complete":
        return _batch(a) * (factor + 4 * (3 * m**2 * k - 3 * m * k**2 + k**3) // 3)
    return _batch(a) * (factor + 2 * k**2 * (3 * m - k) // 3)


def eigh_flops(a: Shape, uplo: str = "L", compute_v: bool = True, **_: Any) -> int:
    """Of a symmetric (..., n, n): 9 n^3 with the vectors, 4/3 n^3 without (section 8.3)."""
    n = a[-1]
    return _batch(a) * (9 * n**3 if compute_v else 4 * n**3 // 3)


def cholesky_flops(a: Shape, *_: Any, **__: Any) -> int:
    """n^3 / 3 (section 4.2)."""
    return _batch(a) * a[-1] ** 3 // 3


def lu_flops(a: Shape, *_: Any, **__: Any) -> int:
    """Of (..., n, n): 2/3 n^3 (section 3.2)."""
    return _batch(a) * 2 * a[-1] ** 3 // 3


def inverse_flops(a: Shape, *_: Any, **__: Any) -> int:
    """2 n^3: an LU factorisation, and n right-hand sides of which half is zero (section 3.4)."""
    return _batch(a) * 2 * a[-1] ** 3


def solve_flops(a: Shape, b: Shape, left: bool = True, **_: Any) -> int:
    """A X = B with A (..., n, n) and B (..., n, k): 2/3 n^3 + 2 n^2 k (sections 3.1, 3.2)."""
    k = 1 if len(b) < len(a) else b[-1 if left else -2]
    return lu_flops(a) + _batch(a) * 2 * a[-1] ** 2 * k


def lu_solve_flops(lu: Shape, pivots: Shape, b: Shape, left: bool = True, **_: Any) -> int:
    """Two triangular systems: 2 n^2 k."""
    return _batch(lu) * 2 * lu[-1] ** 2 * b[-1 if left else -2]


def triangular_flops(a: Shape, b: Shape, left: bool = True, **_: Any) -> int:
    """A X = B with a triangular A (..., n, n) and B (..., n, k): n^2 k (section 3.1)."""
    return _batch(a) * a[-1] ** 2 * b[-1 if left else -2]


def mv_flops(a: Shape, x: Shape, **_: Any) -> int:
    """A matrix (m, n) times a vector: 2 m n."""
    return 2 * prod(a)


def addmv_flops(y: Shape, a: Shape, x: Shape, **_: Any) -> int:
    """The same, added to y (m)."""
    return 2 * prod(a)


def dot_flops(x: Shape, y: Shape, **_: Any) -> int:
    """2 n."""
    return 2 * prod(x)


def _tall(a: Shape) -> tuple[int, int]:
    return max(a[-2:]), min(a[-2:])


def _batch(a: Shape) -> int:
    return prod(a[:-2])


def _options(formula: Callable[..., int], *names: str) -> Callable[..., int]:
    """The formula as one of torch's registry: for tensors, with the options in `names` alone."""

    @shape_wrapper
    def counted(*shapes: Any, out_shape: Any = None, **given: Any) -> int:
        return formula(*shapes, **{key: value for key, value in given.items() if key in names})

    counted._get_raw = True  # type: ignore[attr-defined]  # FlopCounterMode hands over tensors
    return counted


MAPPING: dict[Any, Callable[..., int]] = {
    aten._linalg_svd: _options(svd_flops, "full_matrices", "compute_uv"),
    aten.linalg_qr: _options(qr_flops, "mode"),
    aten._linalg_eigh: _options(eigh_flops, "compute_v"),
    aten.linalg_cholesky_ex: _options(cholesky_flops),
    aten.linalg_lu_factor_ex: _options(lu_flops),
    aten.linalg_inv_ex: _options(inverse_flops),
    aten._linalg_solve_ex: _options(solve_flops, "left"),
    aten.linalg_lu_solve: _options(lu_solve_flops, "left"),
    aten.linalg_solve_triangular: _options(triangular_flops, "left"),
    aten.mv: _options(mv_flops),
    aten.addmv: _options(addmv_flops),
    aten.dot: _options(dot_flops),
    aten.vdot: _options(dot_flops),
}


def flops_of(func: Any, args: Any, kwargs: Any, out: Any) -> int:
    """Of one operation below autograd, by MAPPING or torch's own formulas; 0 without one."""
    packet = getattr(func, "overloadpacket", func)
    formula = MAPPING.get(packet) or flop_registry.get(packet)
    return 0 if formula is None else int(formula(*args, **kwargs, out_val=out))
