"""Parameter groups, one a role."""

from collections import Counter
from typing import Any

from torch import nn
from torch.optim import Optimizer

from lowrank_bench.errors import ConfigError
from lowrank_bench.roles import role_of


def groups_by_role(model: nn.Module) -> list[dict[str, Any]]:
    """What trains, as groups {"params": [(name, parameter), ...], "role": role}.

    Raises: ConfigError when nothing trains.
    """
    groups: dict[str, list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(role_of(model, name), []).append((name, parameter))
    if not groups:
        raise ConfigError("method.trainable: nothing trains")
    return [{"params": params, "role": role} for role, params in groups.items()]


def check_cover(optimizer: Optimizer, model: nn.Module) -> None:
    """Every trainable parameter stands in exactly one group, and nothing else does.

    Raises: ConfigError naming the first that does not.
    """
    times = Counter(id(p) for group in optimizer.param_groups for p in group["params"])
    strangers = set(times) - {id(p) for p in model.parameters()}
    if strangers:
        raise ConfigError(
            f"method.optimizer: {len(strangers)} of its parameters are not the model's"
        )
    for name, parameter in model.named_parameters():
        if times[id(parameter)] != int(parameter.requires_grad):
            raise ConfigError(
                f"method.optimizer: '{name}' ({role_of(model, name)}) stands in "
                f"{times[id(parameter)]} groups; a trainable parameter must stand in one, "
                "a frozen one in none"
            )
