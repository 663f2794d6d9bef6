"""Which layers an init is made for."""

from collections.abc import Callable

Init = Callable[..., None]


def starts(*domains: str) -> Callable[[Init], Init]:
    """Declare the domains of an init: "dense", "factorised", "adapter".

    An init is a function of one layer that fills its parameters in place, from torch's global
    generator: the caller seeds that for each layer by name, so no layer's draw moves another's.
    """

    def declare(init: Init) -> Init:
        init.domains = domains  # type: ignore[attr-defined]
        return init

    return declare
