"""Mixed precision on tensors without values, which torch's autocast does not know."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from lowrank_bench.precision import is_uncast

HALF = (
    *(F.linear, F.bilinear, F.conv1d, F.conv2d, F.conv3d, F.scaled_dot_product_attention),
    *(torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.baddbmm, torch.einsum),
    *(Tensor.matmul, Tensor.__matmul__, Tensor.mm, Tensor.bmm, Tensor.addmm, Tensor.baddbmm),
)
ON_CPU = (F.nll_loss, F.mse_loss)
ON_GPU = (
    *(F.softmax, F.log_softmax, F.layer_norm, F.group_norm, F.cross_entropy, *ON_CPU),
    *(torch.softmax, torch.log_softmax, Tensor.softmax, Tensor.log_softmax),
    *(torch.exp, torch.pow, Tensor.exp, Tensor.pow, F.softplus),
)


class Mixed(TorchFunctionMode):
    """Casts the arguments of products to `dtype`, and those of sums and norms to single.

    The cast of a weight that trains is kept until the context ends, as autocast keeps it; that of
    a frozen weight is made at every use, as autocast makes it.
    Source: torch's documentation of autocast, "Op-Specific Behavior".
    Differs: the lists hold what occurs in the models and layers here.
    """

    def __init__(self, dtype: torch.dtype, *, on_gpu: bool) -> None:
        super().__init__()
        self.dtype, self.single = dtype, ON_GPU if on_gpu else ON_CPU
        self._kept: dict[int, Tensor] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if is_uncast():
            return func(*args, **kwargs)
        if func in HALF:
            args, kwargs = tree_map_only(Tensor, self._halved, (args, kwargs))
        elif func in self.single:
            args, kwargs = tree_map_only(Tensor, _single, (args, kwargs))
        return func(*args, **kwargs)

    def _halved(self, tensor: Tensor) -> Tensor:
        if tensor.dtype is not torch.float32 or not tensor.is_meta:
            return tensor
        if not (tensor.is_leaf and tensor.requires_grad):
            return tensor.to(self.dtype)
        if id(tensor) not in self._kept:
            self._kept[id(tensor)] = tensor.to(self.dtype)
        return self._kept[id(tensor)]


def _single(tensor: Tensor) -> Tensor:
    half = tensor.dtype in (torch.float16, torch.bfloat16)
    return tensor.float() if half and tensor.is_meta else tensor
