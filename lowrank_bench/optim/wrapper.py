"""An optimizer that stands around another."""

from typing import Any

from torch.optim import Optimizer


class Wrapper(Optimizer):
    """What stands between gradients and the inner rule; groups and state are the inner's own.

    Both hold the same dictionaries, so schedulers, checkpoints and counts of state see through.
    A subclass changes gradients, calls `self.inner.step()`, or does what its method needs.
    """

    def __init__(self, inner: Optimizer) -> None:
        super().__init__(inner.param_groups, inner.defaults)
        self.inner = inner
        self.param_groups, self.state = inner.param_groups, inner.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.inner.param_groups, self.inner.state = self.param_groups, self.state
