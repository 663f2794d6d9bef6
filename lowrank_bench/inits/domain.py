"""Which layers an init is made for."""

from collections.abc import Callable
from typing import Literal

Init = Callable[..., None]
Need = Literal["gradient", "dense"]


def starts(*domains: str, needs: Need | None = None) -> Callable[[Init], Init]:
    """Declare the domains of an init: "dense", "factorised", "adapter", or a layer's own.

    An init is a function of one layer that fills its parameters in place, from torch's global
    generator: the caller seeds that for each layer by name, so no layer's draw moves another's.
    One that `needs` more is called with it: `gradient`, dL/dW (o, i) of the base on a few
    training batches; `dense`, the nn.Linear that the layer took the place of.
    """

    def declare(init: Init) -> Init:
        init.domains, init.needs = domains, needs  # type: ignore[attr-defined]
        return init

    return declare
