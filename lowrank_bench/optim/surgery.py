"""Operations on what an optimizer remembers of some parameters."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lowrank_bench.errors import ConfigError

STEP = "step"


def reset(
    optimizer: Optimizer, parameters: Iterable[nn.Parameter], *, keep_step: bool = False
) -> None:
    """Forget: every moment is zero and the count of steps too, as before the first update.

    With `keep_step` the count stays, so bias correction does not begin again: the next Adam
    update is (1 - beta1) / sqrt(1 - beta2) times the rate, 3.16 at (0.9, 0.999).
    Raises: ConfigError for state that is not elementwise, quantised moments included.
    """
    for parameter in parameters:
        state = optimizer.state.get(parameter, {})
        for _, moment in moments(optimizer, parameter):
            moment.zero_()
        if keep_step or STEP not in state:
            continue
        if isinstance(state[STEP], Tensor):
            state[STEP].zero_()
        else:
            state[STEP] = 0


def prune_random(
    optimizer: Optimizer,
    parameters: Mapping[str, nn.Parameter],
    ratio: float,
    seed_of: Callable[[str], int],
    *,
    independent: bool = False,
) -> None:
    """Zero each element of the moments with probability `ratio`; the count of steps stays.

    All moments of a parameter share one mask: a first moment that is kept where the second is
    zeroed would give steps many times too long. `independent` draws a mask for each. Masks come
    from `seed_of(name of the parameter)`, drawn on the CPU, so they agree on all devices.
    Raises: ConfigError as in `reset`.
    """
    for name, parameter in parameters.items():
        generator = torch.Generator().manual_seed(seed_of(name))
        kept = None
        for _, moment in moments(optimizer, parameter):
            if kept is None or independent:
                drawn = torch.rand(parameter.shape, generator=generator)
                kept = (drawn >= ratio).to(moment.device)
            moment.masked_fill_(~kept, 0)


def prune_magnitude(
    optimizer: Optimizer,
    parameters: Iterable[nn.Parameter],
    ratio: float,
    *,
    independent: bool = False,
) -> None:
    """Zero the part `ratio` of smallest magnitude, by tensor; the count of steps stays.

    Kept is |x| > quantile(|x|, ratio), x being the first moment for all moments of a parameter,
    or each by its own with `independent`.
    Raises: ConfigError as in `reset`.
    """
    for parameter in parameters:
        kept = None
        for _, moment in moments(optimizer, parameter):
            if kept is None or independent:
                size = moment.abs().flatten()
                # The same mask as the interpolated quantile's, which torch has up to 16 M only.
                k = int(ratio * (size.numel() - 1)) + 1
                kept = moment.abs() > size.kthvalue(k).values
            moment.masked_fill_(~kept, 0)


def moments(optimizer: Optimizer, parameter: nn.Parameter) -> Iterator[tuple[str, Tensor]]:
    """The elementwise state of a parameter, by name: none before its first update.

    Raises: ConfigError naming the first entry that is neither that nor the count of steps.
    """
    for name, value in optimizer.state.get(parameter, {}).items():
        if name == STEP or value is None:
            continue
        is_plain = type(value) is Tensor and value.is_floating_point()
        if not is_plain or value.shape != parameter.shape:
            what = str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
            raise ConfigError(
                f"method.optimizer: the state '{name}' ({what}) of {type(optimizer).__name__} "
                "is quantised or not elementwise, so it cannot be reset or pruned; use AdamW or SGD"
            )
        yield name, value


def zero_fraction(optimizer: Optimizer, parameters: Iterable[nn.Parameter]) -> float:
    """The share of zeros in all moments of the parameters; 1 where there are none."""
    zeros = total = 0
    for parameter in parameters:
        for _, moment in moments(optimizer, parameter):
            zeros += int((moment == 0).sum())
            total += moment.numel()
    return zeros / total if total else 1.0
