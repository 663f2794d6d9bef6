"""Which parameters a projection may take."""

from collections.abc import Sequence

from torch import nn

from lowrank_bench.errors import ConfigError


def projection_targets(model: nn.Module, names: Sequence[str]) -> dict[str, nn.Parameter]:
    """The matrices and kernels (o, i, h, w) among the parameters `names`, by name.

    Raises: ConfigError for a name that is none, for a parameter that is frozen, shared, of
    another number of dimensions or not contiguous, and when no matrix is left.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    sharers: dict[int, list[str]] = {}
    for name, p in parameters.items():
        sharers.setdefault(id(p), []).append(name)
    found = {}
    for name in names:
        if name not in parameters:
            raise ConfigError(f"method.transform: the model has no parameter '{name}'")
        p = parameters[name]
        what = f"method.transform: '{name}' {tuple(p.shape)} cannot be projected: it is"
        if not p.requires_grad:
            raise ConfigError(f"{what} frozen")
        if p.ndim < 2:
            continue  # a bias, a magnitude: the inner rule as it is
        if p.ndim not in (2, 4):
            raise ConfigError(f"{what} no matrix")
        if not p.is_contiguous():
            raise ConfigError(f"{what} not contiguous")
        if len(sharers[id(p)]) > 1:
            raise ConfigError(f"{what} shared ({', '.join(sharers[id(p)])}); untie it first")
        found[name] = p
    if not found:
        raise ConfigError(
            "method.transform: nothing to project; method.targets must name layers with a "
            "trainable matrix"
        )
    return found
