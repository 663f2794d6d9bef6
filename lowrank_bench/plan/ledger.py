"""What is kept for each parameter: weights, gradients, optimizer state."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.optim import Optimizer

from lowrank_bench.footprint import PROJECTORS
from lowrank_bench.plan.size import Size, total
from lowrank_bench.roles import role_of


def size_of(tensor: Tensor) -> Size:
    return Size(tensor.numel(), tensor.nbytes)


@dataclass(frozen=True)
class Entry:
    """One parameter of an adapted model."""

    name: str
    shape: tuple[int, ...]
    role: str
    target: str | None  # the layer that the method acts on, where it stands in one
    trains: bool
    weight: Size
    gradient: Size  # as it is left by an update
    states: Mapping[str, Size] = field(default_factory=dict)  # by the optimizer's names

    @property
    def state(self) -> Size:
        return sum(self.states.values(), Size())


@dataclass(frozen=True)
class Ledger:
    """All parameters, and what belongs to none of them."""

    entries: Sequence[Entry]
    shared: Mapping[str, Size]  # state that several parameters use, or that none owns
    buffers: Size

    @property
    def weights(self) -> Size:
        return total(each.weight for each in self.entries)

    @property
    def trainable(self) -> Size:
        return total(each.weight for each in self.entries if each.trains)

    @property
    def gradients(self) -> Size:
        return total(each.gradient for each in self.entries)

    @property
    def states(self) -> Size:
        return total(each.state for each in self.entries) + total(self.shared.values())

    def by_state(self) -> dict[str, Size]:
        """Optimizer state by the optimizer's name for it."""
        found: dict[str, Size] = dict(self.shared)
        for entry in self.entries:
            for key, size in entry.states.items():
                found[key] = found.get(key, Size()) + size
        return found

    @property
    def projectors(self) -> Size:
        return total(size for key, size in self.by_state().items() if key in PROJECTORS)

    def by_role(self) -> dict[str, int]:
        """Trainable parameters by role."""
        counts: Counter[str] = Counter()
        for each in self.entries:
            if each.trains:
                counts[each.role] += each.weight.elements
        return dict(counts)


def ledger(model: nn.Module, targets: Sequence[str], optimizer: Optimizer) -> Ledger:
    """Count the tensors that live after an update, each storage once."""
    inside = {f"{name}.": name for name in targets}
    uses = Counter(map(_place, _tensors(optimizer)))
    entries = []
    for name, parameter in model.named_parameters():
        kept = optimizer.state.get(parameter, {})
        gradient = parameter.grad
        entries.append(
            Entry(
                name,
                tuple(parameter.shape),
                role_of(model, name),
                next((layer for prefix, layer in inside.items() if name.startswith(prefix)), None),
                parameter.requires_grad,
                size_of(parameter),
                Size() if gradient is None else size_of(gradient),
                {
                    key: size_of(value)
                    for key, value in kept.items()
                    if isinstance(value, Tensor) and uses[_place(value)] == 1
                },
            )
        )
    buffers = {_place(buffer): size_of(buffer) for buffer in model.buffers()}
    return Ledger(entries, _shared(model, optimizer, uses), total(buffers.values()))


def _shared(model: nn.Module, optimizer: Optimizer, uses: Mapping[int, int]) -> dict[str, Size]:
    """State that several parameters use, or something that is no parameter of the model."""
    owned, seen = set(model.parameters()), set()
    found: dict[str, Size] = {}
    for owner, state in optimizer.state.items():
        for key, value in state.items():
            if not isinstance(value, Tensor) or _place(value) in seen:
                continue
            if owner not in owned or uses[_place(value)] > 1:
                seen.add(_place(value))
                found[key] = found.get(key, Size()) + size_of(value)
    return found


def _tensors(optimizer: Optimizer) -> Iterator[Tensor]:
    for state in optimizer.state.values():
        yield from (value for value in state.values() if isinstance(value, Tensor))


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
