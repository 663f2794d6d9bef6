"""Adapters straight from the folders of runs, for serving."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.export.corrections import correction
from lowrank_bench.export.peft_folder import beside, check_expressible
from lowrank_bench.export.rebuilt import Rebuilt, rebuilt
from lowrank_bench.switch import bank_of


def adapter_of(run: Path) -> dict[str, Tensor]:
    """What the run in the folder `run` adds to its original base, as switch.py takes it.

    PiSSA, ReLoRA and others that move their base are told against the base as it was, so that
    adapters of all these methods can take turns on it.
    Raises: ConfigError as `rebuilt`, for a method whose correction is no product of two factors,
    and where more than the adapter trained.
    """
    return _adapter(run, rebuilt(run))


def bank_of_runs(runs: Sequence[Path]) -> nn.Module:
    """The base of the runs with the adapters of all of them, for batches that mix examples.

    Raises: ConfigError as `adapter_of`, and when the runs do not share their base.
    """
    found = [rebuilt(run) for run in runs]
    for run, each in zip(runs, found, strict=True):
        for name, start in each.plain.items():
            if not torch.equal(start, found[0].plain.get(name, start.new_empty(0))):
                raise ConfigError(f"RUN={run}: has another base than {runs[0]} ('{name}' differs)")
    states = [_adapter(run, each) for run, each in zip(runs, found, strict=True)]
    return bank_of(found[0].fresh(), states)


def _adapter(folder: Path, run: Rebuilt) -> dict[str, Tensor]:
    check_expressible(run)
    state = {}
    for name, layer in run.layers.items():
        start = run.plain[f"{name}.weight"]
        try:
            if start.ndim != 2:
                raise TypeError("the correction of a convolution is none of a matrix")
            B, A, scale = layer.factors()
            if not torch.equal(layer.base.weight, start):
                B, A, scale, _ = correction(layer, start)
        except (TypeError, AttributeError) as error:
            raise ConfigError(f"RUN={folder}: '{name}' cannot be switched ({error})") from None
        state |= {f"{name}.A": A, f"{name}.B": B}
        state[f"{name}.scale"] = torch.tensor(scale, dtype=torch.float64)
    modules, biases = beside(run)
    if more := sorted([*modules, *biases]):
        raise ConfigError(f"RUN={folder}: '{more[0]}' trained beside the adapter, which is alone")
    return state
