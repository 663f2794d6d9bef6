"""Projections of a gradient into a small space, and when they are renewed."""

from dataclasses import dataclass
from math import sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.rank import check_rank

SIDES = ("std", "reverse_std", "left", "right", "full")
BASES = ("svd", "randomized_svd", "gaussian")
OVERSAMPLING, POWER_ITERATIONS = 8, 2  # of the randomized SVD


class Projection(NamedTuple):
    """R = P^T G Q for G (m, n); a side that is None is left as it is (the identity)."""

    P: Tensor | None  # (m, r)
    Q: Tensor | None  # (n, r)

    def project(self, gradient: Tensor) -> Tensor:
        """R: (r, n) from the left, (m, r) from the right, (r, r) from both."""
        R = gradient if self.P is None else self.P.mT @ gradient
        return R if self.Q is None else R @ self.Q

    def add_back_(self, weight: Tensor, direction: Tensor, alpha: float) -> None:
        """W <- W + alpha P N Q^T in place, without a temporary of the size of W (m, n)."""
        if self.Q is None:
            assert self.P is not None
            weight.addmm_(self.P, direction, alpha=alpha)
        else:
            left = direction if self.P is None else self.P @ direction
            weight.addmm_(left, self.Q.mT, alpha=alpha)

    def turn(self, old: "Projection") -> "Projection":
        """The pair by which `project` carries what is in the old space into this one."""
        P = None if self.P is None or old.P is None else old.P.mT @ self.P  # (r, r)
        Q = None if self.Q is None or old.Q is None else old.Q.mT @ self.Q  # (r, r)
        return Projection(P, Q)

    def squared(self) -> "Projection":
        """Every entry squared: how variances of uncorrelated entries are carried over."""
        return Projection(*(None if each is None else each.square() for each in self))

    def orthonormality(self) -> float:
        """max |P^T P - I|, over both sides."""
        errors = [0.0]
        for each in self:
            if each is not None:
                each = each.float()
                gram = each.mT @ each
                errors.append(float((gram - torch.eye(len(gram), device=gram.device)).abs().max()))
        return max(errors)


@dataclass(frozen=True, kw_only=True)
class Projector:
    """How gradients are projected, and how often the projection is renewed.

    `side`: std projects the shorter side of G (m, n), from the right when m >= n, so P is
    small and the states are large; reverse_std projects the longer side, which for m != n
    makes them smaller; left, right and full (both) hold for every shape.
    `basis`: the first r singular vectors of the gradient at hand (`svd`), an approximation of
    them by power iteration (`randomized_svd`: Halko, Martinsson and Tropp 2011, arXiv
    0909.4061, algorithms 4.4 and 5.1), or normal entries of variance 1/r (`gaussian`), which
    are drawn again from their seed at every update instead of being kept.
    The projection is renewed at updates 0, T, 2T, ..., T being `update_gap`.

    Source: Zhao 2024, arXiv 2403.03507, section 4, and galore-torch.
    Raises: ConfigError for a setting that is none.
    """

    rank: int
    update_gap: int
    side: str = "std"
    basis: str = "svd"

    def __post_init__(self) -> None:
        check_rank(self.rank, "method.transform.rank")
        gap = self.update_gap
        if isinstance(gap, bool) or not isinstance(gap, int) or gap < 1:
            raise ConfigError(f"method.transform.update_gap={gap}: must be a positive integer")
        for key, value, known in (("side", self.side, SIDES), ("basis", self.basis, BASES)):
            if value not in known:
                raise ConfigError(
                    f"method.transform.{key}={value}: must be one of {', '.join(known)}"
                )

    def sides(self, m: int, n: int) -> tuple[bool, bool]:
        """Whether a matrix (m, n) is projected from the left, and from the right."""
        if self.side == "full":
            return True, True
        tall = m >= n
        right = {"std": tall, "reverse_std": not tall, "left": False, "right": True}[self.side]
        return not right, right

    def renew(self, gradient: Tensor, seed: int) -> Projection:
        """The projection that G (m, n) asks for; `seed` decides what is drawn.

        The rank is `rank`, or min(m, n) where that is smaller.
        """
        G, r, wanted = gradient, min(self.rank, *gradient.shape), self.sides(*gradient.shape)
        # A gradient without values (device `meta`) is planned with, and nothing is drawn there.
        generator = None if G.is_meta else torch.Generator(G.device).manual_seed(seed)
        if self.basis == "gaussian":
            return Projection(
                *(
                    _gaussian(dim, r, generator, G.device, G.dtype) if side else None
                    for dim, side in zip(G.shape, wanted, strict=True)
                )
            )
        if not torch.isfinite(G).all():  # the run has diverged: let the loss say so, not LAPACK
            U, V = (torch.eye(dim, r, device=G.device) for dim in G.shape)
        elif self.basis == "svd":
            U, _, Vh = torch.linalg.svd(_single(G), full_matrices=False)
            V = Vh.mT
        else:
            U, V = _randomized_svd(_single(G), r, generator)
        return Projection(
            *(
                _copied(vectors[:, :r], G.dtype) if side else None
                for vectors, side in zip((U, V), wanted, strict=True)
            )
        )


def check_number(key: str, value: Any) -> None:
    """Raise ConfigError, naming method.transform.`key`, for what is not a number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ConfigError(f"method.transform.{key}={value}: must be a number above 0")


def _single(gradient: Tensor) -> Tensor:
    """At least single precision, in which LAPACK works."""
    half = gradient.dtype in (torch.float16, torch.bfloat16)
    return gradient.float() if half else gradient


def _copied(vectors: Tensor, dtype: torch.dtype) -> Tensor:
    """Contiguous and in `dtype`; a slice would keep the whole basis alive."""
    return vectors.to(dtype, copy=True, memory_format=torch.contiguous_format)


def _gaussian(
    dim: int, r: int, generator: torch.Generator | None, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """(dim, r), entries N(0, 1/r), so that the expectation of P P^T is the identity."""
    drawn = torch.randn(dim, r, generator=generator, device=device)
    return drawn.div_(sqrt(r)).to(dtype)


def _randomized_svd(
    gradient: Tensor, r: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """The first r left (m, r) and right (n, r) singular vectors, nearly."""
    G = gradient
    width = min(r + OVERSAMPLING, *G.shape)
    sketch = torch.randn(G.shape[1], width, generator=generator, device=G.device, dtype=G.dtype)
    Y = torch.linalg.qr(G @ sketch).Q  # (m, width)
    for _ in range(POWER_ITERATIONS):
        Y = torch.linalg.qr(G @ torch.linalg.qr(G.mT @ Y).Q).Q
    U, _, Vh = torch.linalg.svd(Y.mT @ G, full_matrices=False)
    return Y @ U[:, :r], Vh[:r].mT
