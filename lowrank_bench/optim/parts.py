"""What a projected optimizer steps: groups of parameters, and one parameter on its way."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from lowrank_bench.optim.projector import Projection

Member = tuple[str, nn.Parameter, Tensor]  # name, parameter, what the inner rule holds


@dataclass
class Part:
    """Parameters of one outer group that step together, and the inner group that stands for them.

    What the inner rule holds is the parameter itself in a part that is not projected, and a
    stand-in of the projected shape in one that is.
    """

    index: int  # of the outer group
    settings: dict[str, Any]  # the inner group
    members: list[Member]
    projected: bool


@dataclass
class Update:
    """One projected parameter on its way through one update."""

    p: nn.Parameter
    G: Tensor  # (m, n), with decay where the inner rule adds it to the gradient
    R: Tensor  # projected G
    Z: Tensor  # stands in for p in the inner rule, which leaves -N there
    projection: Projection
    own: dict[str, Any]  # our part of the state
    part: Part
    dropped: dict[str, Any]  # the state before a reset
    lr: float = 0.0
    factor: float = 1.0  # what the inner rule multiplied its direction by, see step_factor

    @property
    def W(self) -> Tensor:  # noqa: N802  # the weight's name
        """The parameter itself as a matrix (m, n), to be changed in place."""
        return as_matrix(self.p)


def as_matrix(weight: Tensor) -> Tensor:
    """A view of a weight (m, n), or of a kernel (o, i, h, w) as (o, i h w)."""
    return weight.view(len(weight), -1)


class Advances(Protocol):
    """An optimizer that can step some of its parts by themselves."""

    findings: dict[str, Any]

    def advance(self, parts: Sequence[Part]) -> None: ...
