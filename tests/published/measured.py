"""What was found for each row, kept beside the rows so that the page needs no planning."""

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from .claims import Claim
from .plans import planned
from .rows import Row

FILE = Path(__file__).with_name("found.json")


@dataclass(frozen=True)
class Measured:
    """By the row's convention, and of memory in bytes as the planner has them.

    `like_bytes` are of the same things as the row tells of, `all_bytes` of weights, buffers,
    gradients and optimizer state, with their own types, counters and all.
    """

    id: str
    found: int | float
    like_bytes: int | None = None
    all_bytes: int | None = None


def measure(row: Row, claim: Claim) -> Measured:
    found = claim.found()
    if claim.exactly is None or not row.quantity.startswith("memory"):
        return Measured(row.id, found)
    ledger = planned(claim.exactly)
    weights = ledger.weights.bytes + ledger.buffers.bytes
    everything = weights + ledger.gradients.bytes + ledger.states.bytes
    like = {
        "memory_weights": weights,
        "memory_optimizer": ledger.states.bytes,
        "memory_weights_plus_optimizer": weights + ledger.states.bytes,
        "memory_weights_gradients_optimizer": everything,
        "memory_states_no_activations": everything,
    }
    return Measured(row.id, found, like[row.quantity], everything)


@cache
def recorded() -> dict[str, Measured]:
    """What was found when the page was last written."""
    read = json.loads(FILE.read_text(encoding="utf-8"))
    return {each["id"]: Measured(**each) for each in read}


def record(found: list[Measured]) -> str:
    """The file's text, a row a line."""
    lines = (json.dumps({k: v for k, v in asdict(m).items() if v is not None}) for m in found)
    return "[\n" + ",\n".join(lines) + "\n]\n"
