"""When an inner rule decays weights: what stands in front of it must do the same."""

from typing import Any, Literal

import torch
from torch.optim import Optimizer

from lowrank_bench.errors import ConfigError

Decay = Literal["before", "after", "gradient"]


def decay_of(inner: Optimizer, group: dict[str, Any]) -> Decay | None:
    """When `inner` decays the weights of `group`; None where it never does.

    - "before": p <- (1 - lr wd) p, then the step (torch's AdamW, Muon);
    - "after": the step, then p <- (1 - lr wd) p (Hugging Face's AdamW);
    - "gradient": g <- g + wd p (torch's SGD, Adam).

    A rule of one's own says which by an attribute `decay`.
    Raises: ConfigError when it decays, and nothing says how.
    """
    if not group.get("weight_decay"):
        return None
    declared: Decay | None = getattr(inner, "decay", None)
    if declared is not None:
        return declared
    if group.get("decoupled_weight_decay") or isinstance(inner, torch.optim.Muon):
        return "before"
    if isinstance(inner, torch.optim.SGD | torch.optim.Adam):
        return "gradient"
    raise ConfigError(
        f"method.optimizer.weight_decay={group['weight_decay']}: a projection does not know when "
        f"{type(inner).__name__} decays; set it to 0, or give the class an attribute `decay` of "
        "'before', 'after' or 'gradient'"
    )
