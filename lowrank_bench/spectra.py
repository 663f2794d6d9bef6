"""How far a weight moved, and along how many directions."""

from math import prod, sqrt
from typing import Any

import torch
from torch import Tensor

SHARE = 0.9  # of the squared spectrum, that `components_90` covers


@torch.no_grad()
def singular_values(matrix: Tensor) -> Tensor:
    """Those of a matrix (m, n), largest first, (min(m, n),) float64.

    They are the roots of the eigenvalues of the smaller Gram matrix, in float64: a third of an
    SVD's time or less. A root halves the digits: values below sqrt(min(m, n) eps) of the
    largest (3e-7 for 512) cannot be told from zero, and are zero here.
    """
    wide = matrix.double() if matrix.shape[0] <= matrix.shape[1] else matrix.double().T
    squares = torch.linalg.eigvalsh(wide @ wide.T).flip(0)
    unseen = len(squares) * torch.finfo(torch.float64).eps * squares[0]
    return torch.where(squares > unseen, squares, 0.0).sqrt()


@torch.no_grad()
def weight_change(weight: Tensor, start: Tensor) -> dict[str, Any]:
    """Measures of dW = weight - start, both (o, i) or (o, i, ...), a convolution taken as
    (o, the rest); s are the singular values of dW.

    - `norm`: |dW|_F, `start_norm`: |W_0|_F, and `relative_norm`, the one by the other, None
      where W_0 is zero.
    - `rank`: how many s rounding leaves visible, of `full_rank` = min(o, i).
    - `stable_rank`: |dW|_F^2 / |dW|_2^2 = sum s^2 / s_1^2 (Rudelson & Vershynin 2007,
      arXiv math/0503442).
    - `effective_rank`: exp(-sum p ln p), p = s / sum s (Roy & Vetterli 2007, EUSIPCO).
    - `components_90`: the smallest k with s_1^2 + .. + s_k^2 >= 0.9 sum s^2 (Biderman 2024,
      arXiv 2405.09673).

    The last four are None where the weight did not move.

    Weights are sums rounded to their type, so that dW of an exact rank r carries noise of full
    rank. Its largest singular value is about rms (sqrt(o) + sqrt(i)), rms being what a rounding
    is off by (Bai & Yin 1993); an s below four times that counts as zero.
    """
    start = start.flatten(1).to(weight.device)
    weight = weight.detach().reshape(start.shape)
    change = weight.double() - start.double()
    norm, size = float(change.norm()), float(start.double().norm())
    found: dict[str, Any] = {
        "norm": norm,
        "start_norm": size,
        "relative_norm": norm / size if size else None,
        "rank": 0,
        "full_rank": min(start.shape),
        "stable_rank": None,
        "effective_rank": None,
        "components_90": None,
    }
    if not (norm > 0 and norm < float("inf")):
        return found
    values = singular_values(change)
    largest = max(size, float(weight.double().norm())) / sqrt(prod(start.shape))
    rms = largest * torch.finfo(weight.dtype).eps / 2 / sqrt(3)
    noise = 4 * rms * (sqrt(start.shape[0]) + sqrt(start.shape[1]))
    values = values[values > noise]
    return found | spectrum(values)


def spectrum(values: Tensor) -> dict[str, Any]:
    """`rank`, `stable_rank`, `effective_rank` and `components_90` of singular values, all above
    zero, largest first.
    """
    if not len(values):
        return {"rank": 0} | dict.fromkeys(("stable_rank", "effective_rank", "components_90"))
    squares, shares = values.square(), values / values.sum()
    covered = squares.cumsum(0) / squares.sum()
    return {
        "rank": len(values),
        "stable_rank": float(squares.sum() / squares[0]),
        "effective_rank": float(torch.special.entr(shares).sum().exp()),
        "components_90": int((covered < SHARE - 1e-12).sum()) + 1,
    }
