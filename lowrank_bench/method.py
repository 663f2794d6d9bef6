"""The method: everything under the config node `method`, as slots."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lowrank_bench.errors import ConfigError
from lowrank_bench.events import Events
from lowrank_bench.names import match
from lowrank_bench.optim.roles import check_cover, groups_by_role
from lowrank_bench.seeds import derive
from lowrank_bench.start import declared_by, start

Loss = Callable[[nn.Module], Tensor]


@dataclass(frozen=True, kw_only=True)
class Slots:
    """All that one method may change; the rest of the config is the control.

    A slot is a plain callable or object that torch already understands; an absent one is None.
    The transform is called with the inner rule, the model, the names of the parameters that
    train in the target layers, and the seed, and returns the optimizer that steps.
    """

    name: str
    targets: Sequence[str]  # globs over the names of nn.Linear layers
    trainable: Sequence[str] | None  # globs over parameter names; None: what the adapter adds
    optimizer: Callable[[list[dict[str, Any]]], Optimizer]  # the inner rule, over groups by role
    schedule: Callable[[Optimizer, int], LRScheduler]  # int: optimizer updates in all
    head: str | None = None  # the output layer: trains whole where no adapter stands in it
    adapter: Callable[[nn.Module, Sequence[str]], nn.Module] | None = None
    init: Callable[..., None] | None = None
    transform: Callable[..., Optimizer] | None = None
    penalty: Loss | None = None  # a scalar added to the loss
    hooks: Mapping[str, Any] | None = field(default_factory=dict)  # see events.py

    def __post_init__(self) -> None:
        for slot in ("optimizer", "schedule"):
            if getattr(self, slot) is None:
                raise ConfigError(f"method.{slot}=null: must be given")


class Method:
    """One method, ready to be applied to a model and to train it.

    In this order: `apply`, `optimizer`, `schedule`, then for each update the loss plus
    `penalty`, and `hooks` around the optimizer's step. `seed` decides all that the method draws.
    """

    def __init__(self, *, seed: int = 0, **slots: Any) -> None:
        self.slots = Slots(**slots)
        self.seed = seed
        self.hooks = Events(self.slots.hooks or {})

    @property
    def name(self) -> str:
        return self.slots.name

    def apply(self, model: nn.Module, *, loss: Loss | None = None) -> nn.Module:
        """Replace the targets, start them, freeze all else, and unfreeze what trains.

        `loss` maps the model to its loss on a few training batches; inits that begin at the
        gradient need it. Returns the adapted model, which may be `model` itself.
        Raises: ConfigError when a glob matches nothing, when the init is not made for the
        layers, or when a layer with a base no longer computes what its base did.
        """
        slots = self.slots
        linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
        targets = match(slots.targets, linears, key="method.targets")
        needs = self._needs(model, targets, loss)
        model.requires_grad_(False)
        if slots.adapter is not None:
            with torch.random.fork_rng(devices=[]):  # for adapters that draw by themselves
                torch.manual_seed(derive(self.seed, "adapter"))
                model = slots.adapter(model, targets)
        chosen = [parameter for parameter in model.parameters() if parameter.requires_grad]
        model.requires_grad_(False)  # what the adapter added too
        for name in targets:
            layer = model.get_submodule(name)
            start(name, layer, slots.init, derive(self.seed, "init", name), **needs[name])
        self._unfreeze(model, targets, chosen)
        self.hooks.check(model)
        return model

    def _unfreeze(
        self, model: nn.Module, targets: Sequence[str], chosen: Sequence[nn.Parameter]
    ) -> None:
        parameters = dict(model.named_parameters())
        if self.slots.trainable is None:
            for parameter in chosen:
                parameter.requires_grad_(True)
        else:
            for name in match(self.slots.trainable, parameters, key="method.trainable"):
                parameters[name].requires_grad_(True)
        head = self.slots.head
        if head is not None and (head not in targets or self.slots.adapter is None):
            try:
                model.get_submodule(head).requires_grad_(True)
            except AttributeError:
                raise ConfigError(f"method.head={head}: the model has no such module") from None

    def _needs(
        self, model: nn.Module, targets: Sequence[str], loss: Loss | None
    ) -> dict[str, dict[str, Any]]:
        """What the init is called with beside the layer, by the name of the layer."""
        init = self.slots.init
        need = getattr(declared_by(init), "needs", None)
        layers = {name: model.get_submodule(name) for name in targets}
        if need == "dense":
            return {name: {"dense": layer} for name, layer in layers.items()}
        if need == "gradient":
            if loss is None:
                raise ConfigError(
                    f"method.init={declared_by(init).__name__}: begins at the gradient, so "
                    "apply() must be given `loss`"
                )
            weights: list[Any] = [layer.weight.requires_grad_(True) for layer in layers.values()]
            with torch.enable_grad():
                gradients = torch.autograd.grad(loss(model), weights)
            return {
                name: {"gradient": gradient}
                for name, gradient in zip(layers, gradients, strict=True)
            }
        return {name: {} for name in targets}

    def optimizer(self, model: nn.Module) -> Optimizer:
        """The inner rule over what trains, one group a role, behind the transform if any.

        Raises: ConfigError for a setting that the rule refuses, or when a trainable parameter
        does not stand in exactly one group.
        """
        try:
            optimizer = self.slots.optimizer(groups_by_role(model))
        except ConfigError:  # a ValueError too, but one that says all
            raise
        except (TypeError, ValueError) as error:
            given = getattr(self.slots.optimizer, "keywords", {})
            raise ConfigError(f"method.optimizer: {error} (given: {given})") from None
        check_cover(optimizer, model)
        if self.slots.transform is None:
            return optimizer
        return self.slots.transform(optimizer, model, self._target_weights(model), self.seed)

    def _target_weights(self, model: nn.Module) -> list[str]:
        """Names of what trains in the target layers, whatever stands there by now."""
        layers = {
            name: module
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear) or hasattr(module, "domain")
        }
        inside = {
            id(parameter)
            for name in match(self.slots.targets, layers, key="method.targets")
            for parameter in layers[name].parameters()
        }
        return [n for n, p in model.named_parameters() if p.requires_grad and id(p) in inside]

    def schedule(self, optimizer: Optimizer, num_updates: int) -> LRScheduler:
        """The learning-rate curve over `num_updates`, by which the hooks plan too."""
        self.hooks.plan(num_updates, self.seed)
        return self.slots.schedule(optimizer, num_updates)

    def penalty(self, model: nn.Module) -> Tensor | float:
        """What is added to the loss of an update; 0 for most methods."""
        return 0.0 if self.slots.penalty is None else self.slots.penalty(model)
