"""What every parametrisation of a linear layer has in common."""

import inspect
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.swap import swap
from lowrank_bench.names import hint


class Layer(nn.Module):
    """Stands in for an nn.Linear (o, i): x (..., i) -> y (..., o).

    A subclass says in `roles` what each of its own parameters is for, and in `domain` which
    inits are made for it. Its parameters start empty; an init fills them. `mergeable` is False
    where no dense weight computes the same function.
    """

    domain: ClassVar[str]
    roles: ClassVar[dict[str, str]] = {}
    mergeable: bool = True
    convolutional: ClassVar[Any] = None  # the layer that does the same for an nn.Conv2d, if any
    start_drift: float | None = None  # how far the start moved the output of the base

    def effective_weight(self) -> Tensor:
        """The dense weight (o, i) that computes the same function, bias and dropout aside."""
        raise TypeError(f"{type(self).__name__} has no dense weight")

    def finish_start(self) -> None:
        """Set what follows from the freshly drawn parameters; called once after the init."""

    @classmethod
    def replacing(cls, linear: nn.Linear, **settings: Any) -> Self:
        """The layer that takes the place of `linear`."""
        return cls(linear, **settings)

    @classmethod
    def adapt(cls, model: nn.Module, names: Sequence[str], **settings: Any) -> nn.Module:
        """Put such a layer in the place of the named nn.Linear layers of `model`.

        An nn.Conv2d is replaced by the layer in `convolutional`.
        Raises: ConfigError for a setting that the layer does not know, or lacks.
        """
        cls._check_settings(settings)
        for name in names:
            plain = model.get_submodule(name)
            assert isinstance(plain, nn.Linear | nn.Conv2d)
            kind: Any = cls if isinstance(plain, nn.Linear) else cls.convolutional
            layer = kind.replacing(plain, **settings)
            swap(model, name, layer.to(device=plain.weight.device, dtype=plain.weight.dtype))
        return model

    @classmethod
    def _check_settings(cls, settings: dict[str, Any]) -> None:
        """By the signature of `replacing`, or of `__init__` where the layer is made by that."""
        plain = cls.replacing.__func__ is Layer.replacing.__func__
        parameters = [*inspect.signature(cls if plain else cls.replacing).parameters.values()][1:]
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
        known = {p.name: p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
        for name in settings:
            if name not in known and not takes_any:
                raise ConfigError(
                    f"method.adapter.{name}: {cls.__name__} has no '{name}'{hint(name, known)}"
                )
        for name, parameter in known.items():
            if parameter.default is parameter.empty and name not in settings:
                raise ConfigError(f"method.adapter.{name}: is missing; {cls.__name__} needs it")
