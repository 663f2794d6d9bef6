"""Numbers of elements that a ledger holds, by what they are for.

No tensor is left out in silence: state of a name that is not known here is an error.
"""

import re
from collections.abc import Callable, Sequence

from lowrank_bench.plan.ledger import Entry, Ledger

MOMENTS = ("exp_avg", "exp_avg_sq", "momentum_buffer")
PROJECTORS = ("P", "Q")
LIMITER = ("seed", "last_norm")  # APOLLO: of its sketch, and the norm that bounds the next; Fira's
COUNTERS = ("step",)  # a number for each parameter, which no publication counts


def all_of_it(_: Entry) -> bool:
    return True


def is_matrix(entry: Entry) -> bool:
    """A matrix of a layer that the method acts on, which GaLore and its kin project."""
    return entry.target is not None and len(entry.shape) == 2


def state(
    ledger: Ledger,
    keys: Sequence[str] = MOMENTS + PROJECTORS,
    of: Callable[[Entry], bool] = all_of_it,
) -> int:
    """Elements of optimizer state by name: moments and projectors unless told otherwise."""
    unknown = set(ledger.by_state()) - {*MOMENTS, *PROJECTORS, *LIMITER, *COUNTERS}
    assert not unknown, f"state that no convention here speaks of: {unknown}"
    assert not ledger.shared, "state that belongs to no parameter"
    return sum(
        size.elements
        for entry in ledger.entries
        if of(entry)
        for key, size in entry.states.items()
        if key in keys
    )


def state_bytes(ledger: Ledger) -> int:
    """Bytes of the moments, as the planner has them, without counters."""
    return sum(size.bytes for key, size in ledger.by_state().items() if key in MOMENTS)


def adapters(ledger: Ledger, of: Callable[[Entry], bool] = all_of_it) -> int:
    """What trains in the layers that the method acts on."""
    return sum(e.weight.elements for e in ledger.entries if e.trains and e.target and of(e))


def targets(ledger: Ledger) -> list[str]:
    return list(dict.fromkeys(e.target for e in ledger.entries if e.target and e.trains))


def triplet(ledger: Ledger, target: str) -> int:
    """Numbers in one of AdaLoRA's triplets: a column of P, a lambda, a row of Q."""
    own = [e for e in ledger.entries if e.target == target and e.trains]
    rank = next(e.weight.elements for e in own if e.role == "lambda")
    elements = sum(e.weight.elements for e in own)
    assert elements % rank == 0
    return elements // rank


def width(ledger: Ledger) -> int:
    """Of the embeddings, the first of the parameters."""
    return ledger.entries[0].shape[-1]


def depth(ledger: Ledger) -> int:
    """How many numbered blocks there are."""
    return len({match[1] for e in ledger.entries if (match := re.search(r"\.(\d+)\.", e.name))})
