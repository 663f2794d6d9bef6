"""The method: everything under the config node `method`, as slots."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from inspect import isclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lowrank_bench.errors import ConfigError
from lowrank_bench.events import Events
from lowrank_bench.head import Head
from lowrank_bench.names import hint, match
from lowrank_bench.optim.roles import check_cover, groups_by_role
from lowrank_bench.seeds import derive
from lowrank_bench.start import (
    PLAIN,
    check_hits,
    check_kept,
    check_plain,
    check_replaceable,
    declared_by,
    drawing,
    start,
)

Loss = Callable[[nn.Module], Tensor]


@dataclass(frozen=True, kw_only=True)
class Slots:
    """All that one method may change; the rest of the config is the control.

    A slot is a plain callable or object that torch already understands; an absent one is None.
    The transform is called with the inner rule, the model, the names of the parameters that
    train in the target layers, and the seed, and returns the optimizer that steps.
    """

    name: str
    targets: Sequence[str]  # globs over the names of nn.Linear and nn.Conv2d layers
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
        for slot in ("name", "targets", "optimizer", "schedule"):
            if getattr(self, slot) is None:
                raise ConfigError(f"method.{slot}=null: must be given")
        for slot in ("adapter", "init", "optimizer", "transform", "schedule", "penalty"):
            _check_callable(slot, getattr(self, slot))
        layer = declared_by(self.adapter)
        if isclass(layer) and issubclass(layer, nn.Module):
            raise ConfigError(
                f"method.adapter._target_: {layer.__name__} is a layer; name {layer.__name__}.adapt"
            )


def _check_callable(slot: str, given: Any) -> None:
    if isinstance(given, Mapping):
        raise ConfigError(f"method.{slot}: has no _target_, which says what it is")
    if given is not None and not callable(given):
        raise ConfigError(
            f"method.{slot}={given}: is nothing that can be called; a file of that slot is chosen "
            f"by method/{slot}={given}, or in a recipe by `override {slot}: {given}`"
        )


class Method:
    """One method, ready to be applied to a model and to train it.

    In this order: `apply`, `optimizer`, `schedule`, then for each update the loss plus
    `penalty`, and `hooks` around the optimizer's step. `seed` decides all that the method draws.
    """

    def __init__(self, *, seed: int = 0, **slots: Any) -> None:
        known = {each.name: each for each in fields(Slots)}
        for key in slots:
            if key not in known:
                raise ConfigError(f"method.{key}: there is no such slot{hint(key, known)}")
        for key, each in known.items():
            if key not in slots and each.default is each.default_factory is MISSING:
                raise ConfigError(f"method.{key}: is missing; does the recipe inherit `full`?")
        self.slots = Slots(**slots)
        self.seed = seed
        self.hooks = Events(self.slots.hooks or {})
        self.targets: list[str] = []  # the layers that were hit, once applied
        self._apart: Head | None = None

    @property
    def name(self) -> str:
        return self.slots.name

    def apply(
        self,
        model: nn.Module,
        *,
        loss: Loss | None = None,
        head: Head | None = None,
        beside: Sequence[str] = (),
    ) -> nn.Module:
        """Replace the targets, start them, freeze all else, and unfreeze what trains.

        `loss` maps the model to its loss on a few training batches; inits that begin at the
        gradient need it. `head` is set apart from the method: no target, and trained whole or
        not at all. `beside` are globs over parameters outside the targets that train whatever
        the method says, as embeddings and norms do from scratch. Returns the adapted model,
        which may be `model` itself.
        Raises: ConfigError when the model is adapted already, when a glob matches nothing, when
        a target shares its weight with another layer, when the init is not made for the layers,
        or when a layer with a base no longer computes what its base did.
        """
        slots = self.slots
        check_plain(model)
        self._apart = head
        plain = [name for name, module in model.named_modules() if isinstance(module, PLAIN)]
        targets = self._matched(plain)
        check_hits(model, targets, slots.targets)
        self.targets = targets
        model.requires_grad_(False)  # so that no statistics of the batches below are kept
        needs = self._needs(model, targets, loss)
        model.requires_grad_(False)
        if slots.adapter is not None:
            check_replaceable(model, targets, slots.adapter)
            with drawing(derive(self.seed, "adapter"), model):  # some draw by themselves
                model = slots.adapter(model, targets)
            check_kept(model, targets)
        chosen = [parameter for parameter in model.parameters() if parameter.requires_grad]
        model.requires_grad_(False)  # what the adapter added too
        for name in targets:
            layer = model.get_submodule(name)
            start(name, layer, slots.init, derive(self.seed, "init", name), **needs[name])
        self._unfreeze(model, targets, chosen)
        inside = tuple(f"{name}." for name in targets)
        outside = {n: p for n, p in model.named_parameters() if not n.startswith(inside)}
        for name in match(list(beside), outside, key="model.trains"):
            outside[name].requires_grad_(True)
        self.hooks.check(model)
        return model

    def _matched(self, layers: Iterable[str]) -> list[str]:
        """The targets among the names of layers; those of a head set apart are none."""
        found = match(self.slots.targets, layers, key="method.targets")
        if self._apart is None or not found:
            return found
        if left := [name for name in found if not self._apart.holds(name)]:
            return left
        raise ConfigError(
            f"method.targets: {', '.join(found)} is the head, which base.head sets apart; "
            "name other layers"
        )

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
        if self._apart is not None:
            for name, parameter in parameters.items():
                if self._apart.holds(name):
                    parameter.requires_grad_(self._apart.trains)
            return
        head = self.slots.head
        if head is None:
            return
        if head not in dict(model.named_modules()):
            raise ConfigError(f"method.head={head}: the model has no such module")
        adapted = tuple(f"{name}." for name in targets) if self.slots.adapter is not None else ()
        for name, parameter in model.named_parameters(remove_duplicate=False):  # it may be tied
            if name.startswith(f"{head}.") and not name.startswith(adapted):
                parameter.requires_grad_(True)

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
                gradients = torch.autograd.grad(loss(model), weights, allow_unused=True)
            for name, gradient in zip(layers, gradients, strict=True):
                if gradient is None:
                    raise ConfigError(
                        f"method.init={declared_by(init).__name__}: the loss does not depend on "
                        f"'{name}', so there is no gradient to begin at; leave it out of "
                        "method.targets"
                    )
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
            if isinstance(module, PLAIN) or hasattr(module, "domain")
        }
        inside = {
            id(parameter)
            for name in self._matched(layers)
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
