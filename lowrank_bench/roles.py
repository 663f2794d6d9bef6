"""What a parameter is for: groups, transforms and receipts ask for roles, never substrings."""

from collections import Counter

from torch import nn


def role_of(model: nn.Module, name: str) -> str:
    """The role of the parameter `name`: what its layer declares, else "bias" or "dense"."""
    owner, _, own = name.rpartition(".")
    declared = getattr(model.get_submodule(owner), "roles", {})
    return declared.get(own, "bias" if own == "bias" else "dense")


def count_by_role(model: nn.Module) -> dict[str, int]:
    """Trainable parameters by role."""
    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            counts[role_of(model, name)] += parameter.numel()
    return dict(counts)
