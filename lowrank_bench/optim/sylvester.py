"""The gradients of two factors whose product follows the gradient of the weight best."""

import torch
from torch import Tensor

from lowrank_bench.optim.pairs import wide


class Grams:
    """B^T B = U diag(lam) U^T and A A^T = V diag(nu) V^T of stacked pairs, and what they solve.

    A (..., r, n), B (..., m, r), s broadcast against (..., r, r), in any precision; all skinny
    work is done in double precision, m n r work in that of the factors. With g_A = s B^T G and
    g_B = s G A^T (G (..., m, n) the gradient of the weight), for any X (..., r, r),

        gh_A = s^-2 (B^T B)^-1 g_A + X A,
        gh_B = s^-2 (I - B (B^T B)^-1 B^T) g_B (A A^T)^-1 - B X

    move the weight by g~ = s (B gh_A + gh_B A) = P_B G + (I - P_B) G P_A, to first order; X
    cancels. The one taken makes |gh_A - g_A|^2 + |gh_B - g_B|^2 least:

        B^T B X + X A A^T = -s^-2 (B^T B)^-1 g_A A^T.

    `delta` is added to both inverses. Where a factor has no such direction, its inverse is 0: a
    B of zero gives gh_A = 0, X = 0 and gh_B = s^-2 g_B (A A^T)^-1.

    Source: Wang 2024, theorems 2.1 and 2.3, arXiv 2407.18242.
    Differs: two eigendecompositions of symmetric matrices, where the reference uses general
    complex ones.
    """

    def __init__(self, A: Tensor, B: Tensor, scale: Tensor | float, delta: float) -> None:  # noqa: N803
        self.dtype = torch.promote_types(A.dtype, torch.float32)
        self.A, self.B, self.scale = A.to(wide(A)), B.to(wide(B)), scale
        noise = (A.shape[-2] * torch.finfo(self.dtype).eps) ** 2  # of the largest eigenvalue
        self.lam, self.U = torch.linalg.eigh(_finite(self.B.mT @ self.B))
        self.nu, self.V = torch.linalg.eigh(_finite(self.A @ self.A.mT))
        self.inverse_B = _inverse(self.lam, self.U, delta, noise)
        self.inverse_A = _inverse(self.nu, self.V, delta, noise)

    def plain(self, g_A: Tensor, g_B: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N803
        """gh_A (..., r, n) and gh_B (..., m, r) at X = 0, in double precision."""
        g_A, g_B = g_A.to(self.A), g_B.to(self.B)
        outside_B = g_B - self.B @ (self.inverse_B @ (self.B.mT @ g_B))
        return (
            self.inverse_B @ g_A / self.scale**2,
            outside_B @ self.inverse_A / self.scale**2,
        )

    def adjusted(self, g_A: Tensor, g_B: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N803
        """gh_A (..., r, n) and gh_B (..., m, r) at the least X, in double precision."""
        gh_A, gh_B = self.plain(g_A, g_B)
        X = self.solve(-gh_A @ self.A.mT)
        return gh_A + X @ self.A, gh_B - self.B @ X

    def solve(self, C: Tensor) -> Tensor:  # noqa: N803
        """X (..., r, r) with B^T B X + X A A^T = C."""
        sums = self.lam[..., :, None] + self.nu[..., None, :]
        turned = self.U.mT @ C @ self.V
        return self.U @ torch.where(sums > 0, turned / sums, 0) @ self.V.mT

    def equivalent(self, g_A: Tensor, g_B: Tensor) -> Tensor:  # noqa: N803
        """g~ (..., m, n), in the precision of the factors."""
        gh_A, gh_B = self.plain(g_A, g_B)
        left = torch.cat([self.scale * self.B, self.scale * gh_B], -1)  # (..., m, 2r)
        return left.to(self.dtype) @ torch.cat([gh_A, self.A], -2).to(self.dtype)

    def of_factors(self, G: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N803
        """g_A = s B^T G and g_B = s G A^T, in double precision."""
        B, A = self.B.to(G), self.A.to(G)
        return self.scale * (B.mT @ G), self.scale * (G @ A.mT)


def _finite(gram: Tensor) -> Tensor:
    """0 for what is not finite: a run that has diverged is the loss's to tell, not LAPACK's."""
    return gram.nan_to_num(0.0, 0.0, 0.0)


def _inverse(values: Tensor, vectors: Tensor, delta: float, noise: float) -> Tensor:
    """(M + delta I)^-1 on the directions that M (..., r, r) has, 0 on the others."""
    there = values > noise * values[..., -1:]
    inverses = torch.where(there, 1 / (values + delta), 0)
    return vectors * inverses[..., None, :] @ vectors.mT
