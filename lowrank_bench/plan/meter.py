"""Counts what happens to tensors without values: bytes that live, and floating-point operations."""

import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lowrank_bench.linalg_flops import flops_of

aten = torch.ops.aten
META = torch.device("meta")
SCALAR = {True: 1.0, False: 1}  # by whether the dtype is floating


class Meter(TorchDispatchMode):
    """Follows every operation on `meta` tensors below autograd.

    - `live_bytes`, `peak_bytes`: of all storages that were made here or were shown to
      `watch`, as an allocator sees them, each rounded up to `granule` bytes;
    - `flops`: multiplications and additions, by the formulas of torch's own FlopCounterMode and
      those of linalg_flops.py;
    - a number that is asked for (`.item()`, `bool(...)`) is 1 or True, since no value is known;
    - what is copied to a CPU stays without values.

    torch's Python kernels for shapes take 50 to 100 microseconds an operation, and a network has
    the same few operations in each of its blocks. So the shape of an outcome is kept by the
    operation and the shapes it acts on, and the kernel is asked once.
    """

    def __init__(self, granule: int = 1) -> None:
        super().__init__()
        self.granule = granule
        self.flops = 0
        self.live_bytes = self.peak_bytes = 0
        self._watched: dict[int, weakref.ref[Any]] = {}
        self._outcomes: dict[Any, tuple[Any, int]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and a guard costs more than the count

    def watch(self, *tensors: Tensor) -> None:
        """Count the storages of `tensors` as live until they are gone."""
        for tensor in tensors:
            self._watch(tensor)

    def reset_peak(self) -> None:
        self.peak_bytes = self.live_bytes

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default and args[0].is_meta:
            dtype = args[0].dtype
            return True if dtype is torch.bool else SCALAR[dtype.is_floating_point]
        if func is aten._to_copy.default and args[0].is_meta:
            kwargs = {**kwargs, "device": None}
        if _writes(func) and args and _has_meta(args):
            self.flops += flops_of(func, args, kwargs, args[0])
            return args[0] if func._schema.returns else None
        on_meta = _has_meta(args) or kwargs.get("device") == META
        key = _key(func, args, kwargs) if on_meta and _is_fresh(func) else None
        if key is None:
            out = func(*args, **kwargs)
            self._keep(out)
            return out
        if key not in self._outcomes:
            product = _PRODUCTS.get(func)
            out = func(*args, **kwargs) if product is None else product(args)
            if not _has_meta(out):
                return out
            self._outcomes[key] = _shape(out), flops_of(func, args, kwargs, out)
        shape, flops = self._outcomes[key]
        self.flops += flops
        out = _made(shape)
        self._keep(out)
        if func in _COPYING:
            self.peak_bytes = max(self.peak_bytes, self.live_bytes + args[0].nbytes)
        return out

    def _keep(self, out: Any) -> None:
        if isinstance(out, Tensor):
            if out.is_meta:
                self._watch(out)
        elif isinstance(out, list | tuple):
            for each in out:
                self._keep(each)

    def _watch(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        place = storage._cdata
        if place in self._watched:
            return
        size = -(-storage.nbytes() // self.granule) * self.granule

        def gone(_: Any) -> None:
            del self._watched[place]
            self.live_bytes -= size

        self._watched[place] = weakref.ref(storage, gone)
        self.live_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)


# torch takes these apart in Python for tensors without values, and loads its compiler to do so.
_PRODUCTS = {
    aten.mm.default: lambda args: args[0].new_empty(args[0].shape[0], args[1].shape[1]),
    aten.addmm.default: lambda args: args[1].new_empty(args[1].shape[0], args[2].shape[1]),
    aten.bmm.default: lambda args: args[0].new_empty(*args[0].shape[:2], args[1].shape[2]),
}
# LAPACK and its kin overwrite what they are given, and so are given a copy.
_COPYING = (aten._linalg_svd.default, aten.linalg_qr.default)
_fresh: dict[Any, bool] = {}
_writing: dict[Any, bool] = {}


def _is_fresh(func: Any) -> bool:
    """Whether all that comes out is new, and a function of the arguments alone."""
    if func not in _fresh:
        schema = func._schema
        aliases = [a.alias_info for a in (*schema.arguments, *schema.returns)]
        has_tensors = any("Tensor" in str(each.type) for each in schema.returns)
        _fresh[func] = has_tensors and not schema.is_mutable and not any(aliases)
    return _fresh[func]


def _writes(func: Any) -> bool:
    """Whether it writes into its first argument, and leaves shapes as they are."""
    if func not in _writing:
        schema = func._schema
        first = schema.arguments[0] if schema.arguments else None
        into_first = (
            first is not None and first.alias_info is not None and first.alias_info.is_write
        )
        alone = sum(a.alias_info is not None and a.alias_info.is_write for a in schema.arguments)
        keeps = torch.Tag.inplace_view not in func.tags and "resize" not in schema.name
        _writing[func] = into_first and alone == 1 and keeps and "set_" not in schema.name
    return _writing[func]


def _has_meta(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.is_meta
    return isinstance(value, list | tuple) and any(map(_has_meta, value))


def _key(func: Any, args: Any, kwargs: Any) -> Any:
    """What decides the shape of the outcome; None where values might."""
    try:
        key = (func, _told(args), _told(kwargs) if kwargs else ())
        hash(key)
    except (TypeError, _HasValuesError):
        return None
    return key


class _HasValuesError(Exception):
    """An argument has values, so the outcome may too."""


def _told(value: Any) -> Any:
    if isinstance(value, Tensor):
        if not value.is_meta and value.ndim:
            raise _HasValuesError
        return value.shape, value.stride(), value.dtype, value.device.type
    if isinstance(value, list | tuple):
        return tuple(map(_told, value))
    if isinstance(value, Mapping):
        return tuple((key, _told(each)) for key, each in value.items())
    return value.__class__, value


def _shape(out: Any) -> Any:
    if isinstance(out, Tensor):
        return ("tensor", out.shape, out.stride(), out.dtype, out.device)
    if isinstance(out, list | tuple):
        return (type(out), *map(_shape, out))
    return ("value", out)


def _made(shape: Any) -> Any:
    if shape[0] == "tensor":
        _, size, stride, dtype, device = shape
        return torch.empty_strided(size, stride, dtype=dtype, device=device)
    if shape[0] == "value":
        return shape[1]
    return shape[0](map(_made, shape[1:]))
