"""What keeps P and Q of an SVD-like correction near to orthogonal."""

from collections import defaultdict
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.svd import SVDLinear
from lowrank_bench.precision import uncast

Form = Literal["squared_sum", "mean_norm"]


class Orthogonality:
    """weight * R, where R measures P^T P - I and Q Q^T - I over all SVD layers of a model.

    - `squared_sum`: R = sum_k |P_k^T P_k - I|_F^2 + |Q_k Q_k^T - I|_F^2, the paper's;
    - `mean_norm`: R = the mean, over all P_k and Q_k, of the norm itself, which the paper's code
      and PEFT compute. It does not grow with the number of layers.

    Source: Zhang 2023, eq. 4 and 5, arXiv 2303.10512.
    Differs: PEFT adds it in evaluation too, and only to models that return their own loss.
    Raises: ConfigError for an unknown form, a negative weight, or a model without SVD layers.
    """

    def __init__(self, weight: float, form: Form) -> None:
        if form not in get_args(Form):
            raise ConfigError(
                f"method.penalty.form={form}: must be one of {', '.join(get_args(Form))}"
            )
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not 0 <= weight < float("inf"):
            raise ConfigError(f"method.penalty.weight={weight}: must be a number, 0 or more")
        self.weight, self.form = weight, form

    def __call__(self, model: nn.Module) -> Tensor:
        squares = torch.cat([_Distance.apply(*rows) for rows in _rows(model)])  # type: ignore[arg-type]
        if self.form == "squared_sum":
            return self.weight * squares.sum()
        tiny = torch.finfo(squares.dtype).tiny  # a norm of zero has no gradient
        return self.weight * squares.clamp(min=tiny).sqrt().mean()


def residuals(model: nn.Module) -> list[Tensor]:
    """P^T P - I and Q Q^T - I of all SVD layers, (k, r, r) for each of the shapes (r, n)."""
    return [_residual(torch.stack(rows)) for rows in _rows(model)]


def _rows(model: nn.Module) -> list[list[Tensor]]:
    """P^T and Q of all SVD layers, together those of one shape (r, n)."""
    by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
    for layer in model.modules():
        if isinstance(layer, SVDLinear):
            for rows in (layer.P.mT, layer.Q):
                by_shape[rows.shape].append(rows)
    if not by_shape:
        raise ConfigError("method.penalty: measures P and Q, but there is no SVD layer (svd)")
    return [*by_shape.values()]


def _residual(rows: Tensor) -> Tensor:
    """R R^T - I (k, r, r) of R (k, r, n)."""
    identity = torch.eye(rows.shape[-2], dtype=rows.dtype, device=rows.device)
    return torch.baddbmm(identity.expand(len(rows), -1, -1), rows, rows.mT, beta=-1)


class _Distance(torch.autograd.Function):
    """|R R^T - I|_F^2 (k) of k matrices R (r, n), whose gradient is 4 (R R^T - I) R."""

    @staticmethod
    def forward(ctx: Any, *rows: Tensor) -> Tensor:
        stacked = torch.stack(rows)  # (k, r, n)
        with uncast(stacked.device):  # it subtracts near equals
            residual = _residual(stacked)
        ctx.save_for_backward(residual, stacked)
        return residual.square().sum((-2, -1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        residual, stacked = ctx.saved_tensors
        with uncast(stacked.device):
            return ((4 * gradient[:, None, None] * residual) @ stacked).unbind()
