"""Activations by the length of sequences and the size of micro-batches."""

from dataclasses import dataclass

from omegaconf import DictConfig

from lowrank_bench.plan.update import kept_bytes

FACTORS = (1 / 4, 1 / 2, 1, 2, 4)  # of the config's own length and micro-batch


@dataclass(frozen=True)
class Activations:
    length: int | None  # tokens; None for images
    micro_batch: int
    checkpointed: bool
    bytes: int


def activations(cfg: DictConfig, micro_batch: int) -> list[Activations]:
    """What a forward pass keeps, around the config's own length and micro-batch.

    Two passes are done on shapes for each length, of one example and of two; activations are
    a line in the number of examples. Lengths that the model has no positions for are left out.
    """
    own = cfg.data.get("length")
    longest = cfg.model.get("max_positions") or own
    lengths = [None] if own is None else sorted({int(own * f) for f in FACTORS} - {0})
    batches = sorted({max(1, round(micro_batch * factor)) for factor in FACTORS})
    found = []
    for length in lengths:
        if length is not None and longest is not None and length > longest:
            continue
        for checkpointed in (False, True) if cfg.model.get("blocks") else (False,):
            changed = cfg.copy()
            changed.run.checkpoint_activations = checkpointed
            if length is not None:
                changed.data.length = length
            one, two = (kept_bytes(changed, examples) for examples in (1, 2))
            found += [
                Activations(length, batch, checkpointed, one + (batch - 1) * (two - one))
                for batch in batches
            ]
    return found
