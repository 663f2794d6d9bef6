"""Receipts of projected optimizers."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from lowrank_bench.optim.parts import as_matrix
from lowrank_bench.optim.projector import Projection, Projector
from lowrank_bench.receipt import Receipt, receipt

States = Mapping[str, tuple[nn.Parameter, Mapping[str, Any]]]


def projection_receipts(
    projector: Projector, states: States, findings: Mapping[str, Any]
) -> dict[str, Receipt]:
    """What a run says of its projections; `states` are the projected parameters', by name.

    - `projector_refreshes`: renewals done, which must be ceil(updates / T) a parameter;
    - `clipped_rank`: parameters whose smaller side is below `rank`, with that side;
    - `projector_orthonormality`: max |P^T P - I|, at most 1e-4, in half precision 2e-2;
    - `projector_energy`: |R|^2 / |G|^2 at the last renewal, by parameter.
    """
    gap, rank = projector.update_gap, projector.rank
    expected = sum(-(-state.get("updates", 0) // gap) for _, state in states.values())
    done = findings["refreshes"]
    sides = {name: min(as_matrix(p).shape) for name, (p, _) in states.items()}
    clipped = {name: side for name, side in sides.items() if side < rank}
    found = {
        "projector_refreshes": receipt(done == expected, done, f"{expected} expected"),
        "clipped_rank": receipt(None, clipped, f"parameters narrower than rank {rank}"),
    }
    if projector.basis == "gaussian":
        return found
    worst = max(
        Projection(state.get("P"), state.get("Q")).orthonormality() for _, state in states.values()
    )
    half = any(p.dtype in (torch.float16, torch.bfloat16) for p, _ in states.values())
    bound = 2e-2 if half else 1e-4
    energy = dict(findings["energy"])
    found["projector_orthonormality"] = receipt(worst <= bound, worst, "max |P^T P - I|")
    found["projector_energy"] = receipt(None, energy, "|R|^2 / |G|^2 at the last refresh")
    return found
