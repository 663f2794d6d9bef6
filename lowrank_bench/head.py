"""The rule for the output layer of a pretrained model: part of the control, not of a method."""

from dataclasses import dataclass
from typing import Any, Self

from lowrank_bench.errors import ConfigError

RULES = ("fresh", "kept", "frozen")


@dataclass(frozen=True)
class Head:
    """A module that no method adapts: it trains whole, or not at all."""

    module: str
    trains: bool

    @classmethod
    def of(cls, model: Any, base: Any) -> Self | None:
        """By the rule in a config's nodes; None where the head is the method's like any layer.

        `fresh`: begun at random, trained whole by every method. `kept`: the base's, and the
        method's business. `frozen`: the base's, as it is.
        Raises: ConfigError for another rule, or a model that names no head.
        """
        if base.head not in RULES:
            raise ConfigError(f"base.head={base.head}: must be one of {', '.join(RULES)}")
        if base.head == "kept":
            return None
        if model.get("head") is None:
            raise ConfigError(f"base.head={base.head}: model={model.name} names no head")
        return cls(model.head, trains=base.head == "fresh")

    def holds(self, name: str) -> bool:
        """Whether a module or parameter of this name is the head, or in it."""
        return name == self.module or name.startswith(f"{self.module}.")

    def check(self, model: Any) -> None:
        """Raise ConfigError when it is no module of `model`, or not one that stands apart."""
        modules = dict(model.named_modules())
        if self.module not in modules:
            raise ConfigError(f"model.head={self.module}: the model has no such module")
        own = {id(parameter) for parameter in modules[self.module].parameters()}
        rule = "fresh" if self.trains else "frozen"
        for name, parameter in model.named_parameters(remove_duplicate=False):
            if id(parameter) in own and not self.holds(name):
                raise ConfigError(
                    f"base.head={rule}: '{self.module}' shares its weight with '{name}'; say "
                    "base.head=kept"
                )
