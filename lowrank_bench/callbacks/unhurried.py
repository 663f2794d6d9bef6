"""A callback that has nothing to say inside an update."""

import lightning as L


class UnhurriedCallback(L.Callback):
    """Base of the bench's own callbacks.

    Lightning enters a profiler's context for every callback at every one of these hooks, in every
    update; it passes over an attribute that cannot be called.
    """

    on_before_backward = None  # type: ignore[assignment]
    on_after_backward = None  # type: ignore[assignment]
    on_before_optimizer_step = None  # type: ignore[assignment]
    on_before_zero_grad = None  # type: ignore[assignment]
