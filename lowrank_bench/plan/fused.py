"""What a device does in one kernel, and torch takes apart on tensors without values."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Fused(TorchFunctionMode):
    """Attention as a fused kernel, which keeps q, k, v, the outcome and one number a row.

    On a CPU and a GPU alike torch chooses such a kernel; on `meta` it would form the (t, t)
    products. Lists of numbers that are asked for (`.tolist()`) are of ones, as single numbers.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and args and args[0].is_meta:
            return _attention(*args, **kwargs)
        if func is Tensor.tolist and args[0].is_meta:
            return torch.ones(args[0].shape, dtype=args[0].dtype, device="cpu").tolist()
        return func(*args, **kwargs)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The outcome (b, h, t, d) of q (b, h, t, d) and k, v (b, h', s, d)."""
    if enable_gqa and key.shape[-3] != query.shape[-3]:
        groups = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    bias = None
    if attn_mask is not None:
        bias = attn_mask
        if bias.dtype is torch.bool:
            bias = torch.zeros_like(bias, dtype=query.dtype)
        bias = bias.expand(*query.shape[:-1], key.shape[-2])
    needs_grad = query.requires_grad or key.requires_grad or value.requires_grad
    kernel = torch.ops.aten._scaled_dot_product_efficient_attention
    return kernel(query, key, value, bias, needs_grad, dropout_p, is_causal, scale=scale)[0]
