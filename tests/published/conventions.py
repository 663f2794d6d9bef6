"""How publications count: functions of what the planner counts, their constants by name.

Unless told otherwise memory is of BF16, 2 bytes an element, and state is moments and projectors.
"""

from collections.abc import Callable, Mapping

from lowrank_bench.plan.ledger import Entry, Ledger

from .quantities import (
    MOMENTS,
    PROJECTORS,
    adapters,
    all_of_it,
    depth,
    is_matrix,
    state,
    state_bytes,
    targets,
    triplet,
    width,
)

G = 1.024e9  # bytes: GaLore's, a decimal MB divided by 1024
GB = 1e9
MB = 1e6
MILLION = 1e6


def parameters(ledger: Ledger, *, times: int = 1, per: float = 1) -> float:
    """All of them; `times` for as many bytes."""
    return _per(ledger.weights.elements * times, per)


def trained(ledger: Ledger, *, per: float = 1) -> float:
    """All that train."""
    return _per(ledger.trainable.elements, per)


def adapted(
    ledger: Ledger, *, times: int = 1, per: float = 1, of: Callable[[Entry], bool] = all_of_it
) -> float:
    """What trains in the method's layers; `times` for as many blocks, or bytes."""
    return _per(adapters(ledger, of) * times, per)


def _per(count: int, per: float) -> float:
    return count if per == 1 else count / per


def share_of_all(ledger: Ledger) -> float:
    """Per cent that the adapters are of the base and themselves."""
    return 100 * adapters(ledger) / ledger.weights.elements


def share_of_base(ledger: Ledger) -> float:
    """Per cent that the adapters are of the base alone."""
    return 100 * adapters(ledger) / (ledger.weights.elements - adapters(ledger))


def share_of_matrices(ledger: Ledger) -> float:
    """Per cent that the adapters are of the matrices around which they stand."""
    own = [e for e in ledger.entries if is_matrix(e) and not e.trains]
    return 100 * adapters(ledger) / sum(e.weight.elements for e in own)


def memory(
    ledger: Ledger,
    *,
    weights: float = 2,
    states: float = 2,
    buffers: bool = False,
    of: Callable[[Entry], bool] = all_of_it,
    keys: tuple[str, ...] = MOMENTS + PROJECTORS,
    unit: float = G,
) -> float:
    """`weights` and `states` bytes an element; with `buffers` those too, in their own types."""
    kept = states * state(ledger, keys, of) if states else 0
    kept += ledger.buffers.bytes if buffers else 0
    return (weights * ledger.weights.elements + kept) / unit


def nominal_memory(
    full: Ledger, *, label: float, weights: float = 2, states: float = 2, unit: float = G
) -> float:
    """Of as many parameters as the label of the size says, with the state that each has."""
    _is_labelled(full, label)
    each = state(full) / full.weights.elements
    return label * (weights + states * each) / unit


def counted_twice(
    full: Ledger,
    lora: Ledger,
    *,
    label: float,
    weights: float = 2,
    states: float = 2,
    unit: float = G,
) -> float:
    """A whole low-rank model beside a whole nominal one: what is no linear layer is in both.

    What trains beside the adapters when LoRA trains from scratch (embeddings, head, norms) makes
    with them just that low-rank model.
    """
    _is_labelled(full, label)
    low_rank = lora.trainable.elements
    assert low_rank == adapters(lora) + _outside(lora)
    return (weights * (label + low_rank) + states * state(lora)) / unit


def _outside(ledger: Ledger) -> int:
    return sum(e.weight.elements for e in ledger.entries if e.target is None)


def weights_and_projected_state(
    projected: Ledger, *, label: float, weights: float = 2, states: float = 2, unit: float = G
) -> float:
    """Nominal weights, and the state of the projected matrices alone."""
    _is_labelled(projected, label)
    return (weights * label + states * state(projected, of=is_matrix)) / unit


def half_of_printed(full: Ledger, *, label: float, printed: float, unit: float = G) -> float:
    """Nominal weights to two digits, and half of a printed optimizer column."""
    return round(nominal_memory(full, label=label, states=0, unit=unit), 2) + printed / 2


def printed_and_gradients(
    ledger: Ledger, *, printed: float, label: float | None = None, unit: float = G
) -> float:
    """A printed total, and 2 bytes for each gradient: nominally, where there is a label."""
    if label is not None:
        _is_labelled(ledger, label)
    return printed + 2 * (label or ledger.gradients.elements) / unit


def bytes_a_parameter(
    tuned: Ledger, *, label: float, share: float = 1, frozen: float = 0, gpus: int = 1
) -> float:
    """Weights, gradients and moments of a nominal model, of which a share is tuned.

    The bytes for each tuned parameter are the planner's own, of training in FP32.
    """
    _is_labelled(tuned, label)
    all_bytes = tuned.weights.bytes + tuned.gradients.bytes + state_bytes(tuned)
    return label * (frozen + share * all_bytes / tuned.weights.elements) / GB / gpus


def saved_by_freezing(full: Ledger) -> float:
    """Share of weights and moments that the moments are, gradients forgotten."""
    return state(full) / (full.weights.elements + state(full))


def printed_size(full: Ledger, *, printed: float, bytes_each: float = 2, unit: float = GB) -> float:
    """A printed number of parameters, in bytes."""
    _is_labelled(full, printed)
    return printed * bytes_each / unit


def _is_labelled(ledger: Ledger, label: float) -> None:
    """That a nominal size is this model's: labels are up to 6 % off."""
    off = abs(ledger.weights.elements / label - 1)
    assert off < 0.06, f"{label:g} parameters are no label of {ledger.weights.elements:,}"


def kept_triplets(ledger: Ledger, *, kept: Mapping[str, int], bytes_each: int = 1) -> int:
    """AdaLoRA after pruning: how many triplets layers of a name keep, all together."""
    names = targets(ledger)
    found = 0
    for suffix, count in kept.items():
        costs = {triplet(ledger, name) for name in names if name.endswith(suffix)}
        assert len(costs) == 1, f"layers {suffix} are not alike"
        found += count * costs.pop()
    return found * bytes_each


def uniform_triplets(ledger: Ledger, *, budget: int, per: float = 1) -> float:
    """AdaLoRA with as many triplets in each layer."""
    return _per(sum(budget * triplet(ledger, name) for name in targets(ledger)), per)


def all_triplets(ledger: Ledger, *, budget: int) -> int:
    return budget * len(targets(ledger))


def series_adapters(
    full: Ledger, *, inner: int, each_block: int, norms: int = 0, per: float = MILLION
) -> float:
    """Adapters with biases in series with each block: L (2dr + r + d), and layer norms 2d."""
    d, count = width(full), each_block * depth(full)
    return (count * (2 * d * inner + inner + d) + 2 * norms * depth(full) * d) / per


def prompt(full: Ledger, *, length: int, per: float = 1) -> float:
    """Vectors of the width, beside or instead of embeddings: length x d."""
    return _per(length * width(full), per)


def prefix_layers(full: Ledger, *, length: int, per: float = MILLION) -> float:
    """Vectors instead of activations in every block: L length d."""
    return depth(full) * length * width(full) / per


def spread_of_product(factorised: Ledger) -> float:
    """Standard deviation of a product of factors U(-1/sqrt r, 1/sqrt r) over nn.Linear's default.

    Of the first layer: sqrt(1 / 9r) / sqrt(1 / 3 d_in) = sqrt(d_in / 3r).
    """
    rank, inputs = next(e.shape for e in factorised.entries if e.role == "factor_A")
    return (inputs / (3 * rank)) ** 0.5


def tokens(an_update: int, *, updates: int, per: float = 1e9) -> float:
    return an_update * updates / per
