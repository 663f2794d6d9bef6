"""Whether torch.compile works here at all."""

import torch

from lowrank_bench.errors import ConfigError


def check_compiler(device: str) -> None:
    """Compile something small, as a run would compile its model.

    torch.compile (TorchInductor) writes C++ for a CPU and Triton for a GPU, and needs what
    compiles those. Takes seconds the first time, as its cache is filled.

    Raises: ConfigError in one line when it cannot be done.
    """
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(8, device=device))
    except Exception as error:  # torch has many, each with a page of advice
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise ConfigError(
            f"run.compile=true: torch.compile does not work here: {said or type(error).__name__}"
        ) from error
