"""What each of several devices holds."""

from dataclasses import dataclass

STRATEGIES = ("ddp", "fsdp")


@dataclass(frozen=True)
class PerDevice:
    """Bytes on one of N devices."""

    weights: int
    gradients: int
    optimizer_state: int
    in_transit: int  # gathered weights, or buckets of gradients on their way
    activations: int
    peak: int  # an estimate


def per_device(
    strategy: str,
    devices: int,
    *,
    weights: int,
    gradients: int,
    optimizer_state: int,
    activations: int,
    peak: int,
    largest_block: int,
) -> PerDevice:
    """From what one device alone would hold for the same micro-batch.

    ddp: everything on each device, and the gradients once more in the buckets that are reduced.
    fsdp: weights, gradients and optimizer state in N shards; while one block computes, its whole
    weights are gathered, and those of the next. Buffers stay whole.
    Source: Li 2020, arXiv 2006.15704, section 3.2 (buckets); Zhao 2023, arXiv 2304.11277,
    section 3 (units, prefetching).
    Raises: ValueError for another strategy.
    """
    if strategy not in STRATEGIES:
        raise ValueError(strategy)
    if devices == 1:
        return PerDevice(weights, gradients, optimizer_state, 0, activations, peak)
    if strategy == "ddp":
        peak += gradients
        return PerDevice(weights, gradients, optimizer_state, gradients, activations, peak)
    kept = weights + gradients + optimizer_state
    shard = -(-kept // devices)
    gathered = min(2 * largest_block, weights)
    return PerDevice(
        -(-weights // devices),
        -(-gradients // devices),
        -(-optimizer_state // devices),
        gathered,
        activations,
        peak - kept + shard + gathered,
    )
