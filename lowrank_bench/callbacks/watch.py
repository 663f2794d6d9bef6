"""Early updates of a run, looked at closely: their memory and floating-point operations."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import Any

from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from lowrank_bench.callbacks.memory import DevicePeak, allocations
from lowrank_bench.footprint import live_bytes, state_tensors
from lowrank_bench.linalg_flops import flops_of
from lowrank_bench.task import Task


class FlopCount(TorchDispatchMode):
    """Adds up torch's own FLOP formulas, and those of linalg_flops.py, over what runs inside it.

    The number is FlopCounterMode's. That one also follows modules and takes apart what it has no
    formula for, in four times the time; below autograd nothing is left to take apart.
    """

    # Others than plain operators, as flex_attention: they run as they are.
    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self.flops += flops_of(func, args, kwargs, out)
        return out


class Watch:
    """Called with the index of an update, gives the context in which a Task makes it.

    Of the updates that it is shown it looks at the second, in which the optimizer's states are
    there and nothing is new, for its memory, at the third for its operations, since while those
    are counted torch allocates here and there a little more; and then takes itself off the task.
    At the first it looks for both where the optimizer has a `projector`, which is renewed then.
    A run too short for all that is asked for the rest in its last update. No bit is changed.

    - `flops`: of an update; `renewal_flops`: of one in which a projection is renewed. None of
      a compiled model, whose operations are no longer torch's.
    - `peak_bytes`: of a CPU, weights, buffers and optimizer state that live before an update, plus
      the most that it allocates beyond them; the larger one where it looked at two. The first
      update of a compiled model is left out, since it holds what compiles.
    - `device_peak`, of a GPU, is closed after the first update, where receipts are made, and
      while operations are counted.
    - `aside_s`, `update_s`: the seconds that this took beside the updates, and those of updates
      under it, by when they were shown; they are slower than others.
    """

    def __init__(
        self,
        task: Task,
        optimizer: Optimizer,
        *,
        is_compiled: bool = False,
        device_peak: DevicePeak | None = None,
    ) -> None:
        self.task, self.optimizer = task, optimizer
        self.is_compiled, self.device_peak = is_compiled, device_peak
        self.flops: int | None = None
        self.renewal_flops: int | None = None
        self.peak_bytes: int | None = None
        self.aside_s = 0.0
        self.update_s: dict[int, float] = {}
        self._shown = -1

    @contextmanager
    def __call__(self, update: int) -> Iterator[None]:
        self._shown += 1
        shown, renews = self._shown, update == 0 and hasattr(self.optimizer, "projector")
        is_last = update + 1 == self.task.num_updates
        memory = shown == 1 or (shown == 0 and (renews or is_last) and not self.is_compiled)
        flops = (shown == 2 or (shown == 0 and renews) or is_last) and not self.is_compiled
        if self.device_peak is not None and shown < 2:
            self.device_peak.open()
        with self._looking(memory=memory, flops=flops):
            yield
        if self.device_peak is not None:
            self.device_peak.close()
        if renews:
            self.renewal_flops, self.flops = self.flops, None
        if shown == 2:
            self.task.watch = None
            if self.device_peak is not None:
                self.device_peak.open()

    @contextmanager
    def _looking(self, *, memory: bool, flops: bool) -> Iterator[None]:
        if not memory and not flops:
            yield
            return
        began = perf_counter()
        task, model = self.task, self.task.model
        for parameter in model.parameters():  # as an update begins; else it would be seen to free
            parameter.grad = None
        before, told, count = 0, None, None
        with ExitStack() as stack:
            if memory and task.device.type == "cpu":
                state = state_tensors([self.optimizer])
                before = live_bytes([*model.parameters(), *model.buffers(), *state])
                told = stack.enter_context(allocations())
            if flops:
                count = stack.enter_context(FlopCount())
            entered = perf_counter()
            yield
            left = perf_counter()
        if told is not None:
            self.peak_bytes = max(self.peak_bytes or 0, before + told())
        if count is not None:
            self.flops = count.flops
        self.update_s[self._shown] = left - entered
        aside = perf_counter() - left + entered - began
        self.aside_s += aside
        task.train_seconds -= aside  # to which the task adds the whole
