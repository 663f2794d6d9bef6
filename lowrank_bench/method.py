"""The method: everything under the config node `method`, as slots."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lowrank_bench.errors import ConfigError
from lowrank_bench.names import match
from lowrank_bench.roles import role_of
from lowrank_bench.seeds import derive

NamedParameters = Iterable[tuple[str, nn.Parameter]]


@dataclass(frozen=True, kw_only=True)
class Method:
    """All that one method may change; the rest of the config is the control.

    A slot is a plain callable or object that torch already understands; an absent one is None
    and adds no branch to a step, since what it would change is decided here, once.
    """

    name: str
    targets: Sequence[str]  # globs over the names of nn.Linear layers
    trainable: Sequence[str]  # globs over the parameter names that get gradients
    optimizer: Callable[[NamedParameters], Optimizer]  # the inner rule
    schedule: Callable[[Optimizer, int], LRScheduler]  # int: optimizer updates in all
    adapter: Callable[[nn.Module, Sequence[str]], nn.Module] | None = None
    init: Callable[[nn.Module], None] | None = None
    transform: Callable[[Optimizer, nn.Module], Optimizer] | None = None
    penalty: Callable[[nn.Module], Tensor] | None = None  # a scalar added to the loss
    hooks: Mapping[str, Any] = field(default_factory=dict)  # before_step, after_step, step_end

    def __post_init__(self) -> None:
        for slot in ("optimizer", "schedule"):
            if getattr(self, slot) is None:
                raise ConfigError(f"method.{slot}=null: must be given")

    def apply(self, model: nn.Module, *, seed: int = 0) -> nn.Module:
        """Freeze all, replace the targets, start them, and unfreeze what trains.

        Raises: ConfigError when a glob matches nothing, when the init is not made for the
        layers, or when a layer with a base no longer computes what its base did.
        """
        linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
        targets = match(self.targets, linears, key="method.targets")
        if self.adapter is not None:
            model = self.adapter(model, targets)
        model.requires_grad_(False)  # what the adapter added too
        for name in targets:
            self._start(name, model.get_submodule(name), derive(seed, "init", name))
        parameters = dict(model.named_parameters())
        for name in match(self.trainable, parameters, key="method.trainable"):
            parameters[name].requires_grad_(True)
        return model

    def _start(self, name: str, layer: nn.Module, seed: int) -> None:
        domain = getattr(layer, "domain", "dense")
        if self.init is None:
            if domain == "dense":
                return  # as the model drew it
            raise ConfigError(f"method.init=null: nothing would fill '{name}' ({domain})")
        init = self.init.func if isinstance(self.init, partial) else self.init
        domains = getattr(init, "domains", None)
        if domains is not None and domain not in domains:
            raise ConfigError(
                f"method.init={init.__name__}: starts {' or '.join(domains)} layers, "
                f"but '{name}' is {domain} ({type(layer).__name__})"
            )
        base = getattr(layer, "base", None)
        before = base.weight.detach().clone() if base is not None else None
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            self.init(layer)
        if before is not None:
            _check_same_start(name, layer, before, init.__name__)

    def build_optimizer(self, model: nn.Module) -> Optimizer:
        """The inner rule over what trains, behind the transform if there is one."""
        trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        try:
            optimizer = self.optimizer(trained)
        except (TypeError, ValueError) as error:
            given = getattr(self.optimizer, "keywords", {})
            raise ConfigError(f"method.optimizer: {error} (given: {given})") from None
        check_cover(optimizer, model)
        return optimizer if self.transform is None else self.transform(optimizer, model)


def check_cover(optimizer: Optimizer, model: nn.Module) -> None:
    """Every trainable parameter stands in exactly one group, and nothing else does."""
    grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    strangers = set(grouped) - {id(p) for p in model.parameters()}
    if strangers:
        raise ConfigError(
            f"method.optimizer: {len(strangers)} of its parameters are not the model's"
        )
    for name, parameter in model.named_parameters():
        times = grouped.count(id(parameter))
        if times != int(parameter.requires_grad):
            raise ConfigError(
                f"method.optimizer: '{name}' ({role_of(model, name)}) stands in {times} groups; "
                f"a trainable parameter must stand in one, a frozen one in none"
            )


@torch.no_grad()
def _check_same_start(name: str, layer: nn.Module, before: Tensor, init: str) -> None:
    weight = layer.effective_weight()  # type: ignore[operator]
    drift = float((weight - before).abs().max())
    scale = float(before.abs().max()) or 1.0
    if not drift <= 1e-5 * scale:
        raise ConfigError(
            f"method.init={init}: '{name}' ({type(layer).__name__}) no longer computes what its "
            f"base did; its weight moved by {drift:.2g} (largest entry {scale:.2g})"
        )
    layer.start_drift = drift  # type: ignore[assignment]  # for the receipt
