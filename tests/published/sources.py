"""All claims, by the id of their row."""

from functools import cache

from . import copies, galore, lora, small
from .claims import Claim, Claims
from .rows import rows

SOURCES = (
    *(galore.shapes, galore.claims, copies.low_rank_models),
    *(copies.fira, copies.apollo, copies.sltrain),
    *(lora.lora, lora.adalora, lora.dora, lora.peft),
    *(small.vit, small.bytes_each, small.founding, small.matrices),
)


@cache
def claims() -> dict[str, Claim]:
    """Those of which there is a row; sizes, columns and ranks make some more."""
    made: Claims = {}
    for source in SOURCES:
        new = source()
        assert not set(made) & set(new), "an id is claimed twice"
        made |= new
    return {name: made[name] for name in rows() if name in made}
