"""What a parameter is for: groups, transforms and receipts ask for roles, never substrings."""

from collections import Counter

from torch import nn


def role_of(model: nn.Module, name: str) -> str:
    """The role of the parameter `name`: what a module around it declares, else "bias" or "dense".

    A module declares in `roles` what its own parameters are for, or all that lies in a submodule
    of that name; the innermost one that does decides.
    """
    *path, own = name.split(".")
    for depth in range(len(path), -1, -1):
        declared = getattr(model.get_submodule(".".join(path[:depth])), "roles", {})
        if (part := [*path, own][depth]) in declared:
            return declared[part]
    return "bias" if own == "bias" else "dense"


def count_by_role(model: nn.Module) -> dict[str, int]:
    """Trainable parameters by role."""
    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            counts[role_of(model, name)] += parameter.numel()
    return dict(counts)
