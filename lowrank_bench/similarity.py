"""How alike two representations of the same examples are."""

import torch
from torch import Tensor


@torch.no_grad()
def linear_cka(x: Tensor, y: Tensor) -> float | None:
    """Linear centred kernel alignment of features (n, d) and (n, e), rows the same examples.

    CKA = |Y^T X|_F^2 / (|X^T X|_F |Y^T Y|_F), columns centred: in [0, 1], 1 for features that
    are a rotation and a scaling of each other, None where all rows of one are equal. With few
    examples for many features it is biased upwards; compare values of equal n and d.
    Source: Kornblith 2019, section 3, arXiv 1905.00414.
    """
    assert len(x) == len(y), "rows must be the same examples"
    x, y = _centred(x), _centred(y)
    if max(x.shape[1], y.shape[1]) > len(x):  # the same by kernels (n, n), which are smaller
        kernel, other = x @ x.T, y @ y.T
        cross, own, others = (kernel * other).sum(), kernel.norm(), other.norm()
    else:
        cross, own, others = (y.T @ x).square().sum(), (x.T @ x).norm(), (y.T @ y).norm()
    size = float(own * others)
    return float(cross) / size if size else None


def _centred(x: Tensor) -> Tensor:
    """Columns less their means, in float64; exactly zero where all that is left is rounding."""
    x = x.double()
    centred = x - x.mean(0)
    return centred if centred.norm() > 1e-12 * x.norm() else torch.zeros_like(x)
