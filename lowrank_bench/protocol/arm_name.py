"""What a method is called where it is compared: its recipe, and what of it is another's."""

import re
from collections.abc import Sequence

OF_METHOD = re.compile(r"[+~]*method[/.](?P<rest>.+)", re.DOTALL)


def method_label(method: str, overrides: Sequence[str]) -> str:
    """The recipe's name, and what of it was overridden: 'full (init=product_variance)'."""
    options = {found["rest"] for item in overrides if (found := OF_METHOD.fullmatch(item))}
    return f"{method} ({', '.join(sorted(options))})" if options else method


def arm_name(label: str, rank: int | None) -> str:
    """One method at one rank: `lora r8`."""
    return label if rank is None else f"{label} r{rank}"
