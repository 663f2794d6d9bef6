"""Which tuners the installed PEFT has, and which of them act on linear layers."""

from collections.abc import Iterator
from typing import Any

PROMPTS = "adapts the prompt of a language model, not linear layers"
NEEDS_MORE = {
    "AdaptionPromptConfig": PROMPTS,
    "XLoraConfig": "mixes finished adapters of a transformer, and is none itself",
    "ShadowConfig": "runs beside the blocks of a transformer, not on linear layers",
    "PolyConfig": "needs a task's number with each input, which a plain model does not take",
    "TrainableTokensConfig": "trains rows of an embedding, not linear layers",
}


def tuner_class(cls: Any) -> type | None:
    """The tuner that PEFT registers for a config class, or None."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING

    kinds = [kind for kind, known in PEFT_TYPE_TO_CONFIG_MAPPING.items() if known is cls]
    return PEFT_TYPE_TO_TUNER_MAPPING.get(kinds[0]) if kinds else None


def why_not(cls: Any) -> str | None:
    """Why this tuner cannot act on the linear layers of a plain model; None where it can."""
    from peft.tuners.tuners_utils import BaseTuner

    if cls.__name__ in NEEDS_MORE:
        return NEEDS_MORE[cls.__name__]
    found = tuner_class(cls)
    if found is None:
        return "the installed PEFT has no tuner for it"
    return None if issubclass(found, BaseTuner) else PROMPTS


def all_tuners() -> Iterator[tuple[str, str | None]]:
    """Name and `why_not` of each config class of the installed PEFT, those that act first."""
    import peft
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    classes = {cls.__name__: cls for cls in PEFT_TYPE_TO_CONFIG_MAPPING.values()}
    found = {n: why_not(cls) for n, cls in classes.items() if getattr(peft, n, None) is cls}
    yield from sorted(found.items(), key=lambda item: (item[1] is not None, item[0].lower()))
