"""What a tuner of PEFT needs of the clock."""

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from lowrank_bench.errors import ConfigError
from lowrank_bench.peft_bridge import tuner_of
from lowrank_bench.peft_bridge.fields import KEY
from lowrank_bench.receipt import Receipt, receipt

AVERAGES = ("exp_avg_ipt", "exp_avg_unc")  # what AdaLoRA's allocator remembers of a parameter
KEPT = "peft_kept"  # which triplets its last mask kept, (r, 1)


class PeftAllocator:
    """Calls a tuner's `update_and_allocate` after each update, while gradients live.

    AdaLoRA scores the change of this update (parameters after it, gradients before it), and PEFT
    counts updates from 0, as here. Its total_step is the run's number of updates. What the
    allocator remembers lies in `optimizer.state`, so that a resumed run equals an uninterrupted
    one. Tuners without an allocator cost nothing but this look.

    Source: Zhang 2023, algorithm 1, arXiv 2303.10512, as PEFT's RankAllocator has it.
    Raises: ConfigError at the first update when tinit and tfinal leave no time to share out
    ranks, or when the ranks do not fall.
    """

    def __init__(self) -> None:
        self.num_updates = 0

    def plan(self, num_updates: int, seed: int) -> None:
        self.num_updates = num_updates

    def after_step(self, model: nn.Module, optimizer: Optimizer, update: int) -> None:
        tuner = tuner_of(model)
        allocator = getattr(tuner, "rankallocator", None)
        if allocator is None:
            return
        config = allocator.peft_config
        if config.total_step != self.num_updates:
            config.total_step = self.num_updates
            _check_phases(config)
        parameters = dict(model.named_parameters())
        _restore(allocator, parameters, optimizer)
        tuner.update_and_allocate(update)
        _keep(allocator, parameters, optimizer)

    def receipts(self, model: nn.Module) -> dict[str, Receipt]:
        """`peft_tuner`, and for an allocator the number of directions left in each layer."""
        tuner = tuner_of(model)
        if tuner is None:
            return {}
        (config,) = tuner.peft_config.values()
        found = {"peft_tuner": receipt(None, type(config).__name__)}
        if getattr(tuner, "rankallocator", None) is not None:
            ranks = {
                name.rpartition(".lora_E")[0]: int(p.count_nonzero())
                for name, p in model.named_parameters()
                if ".lora_E." in name
            }
            budget = config.target_r * len(ranks)
            found["rank_budget"] = receipt(None, ranks, f"directions left; the goal is {budget}")
        return found


def _check_phases(config: Any) -> None:
    if config.tinit >= config.total_step - config.tfinal:
        raise ConfigError(
            f"{KEY}.tinit={config.tinit}, tfinal={config.tfinal}: leave none of the "
            f"{config.total_step} updates to share out ranks in"
        )


def _restore(allocator: Any, parameters: dict[str, nn.Parameter], optimizer: Optimizer) -> None:
    kept = {}
    for name, parameter in parameters.items():
        state = optimizer.state.get(parameter, {})
        if AVERAGES[0] in state:
            for average in AVERAGES:
                getattr(allocator, average)[name] = state[average]
            allocator.ipt.setdefault(name, state[AVERAGES[0]])  # written before it is read
        if KEPT in state:
            kept[name] = state[KEPT].bool().view(-1).tolist()
    if kept:
        allocator.peft_config.rank_pattern = kept


def _keep(allocator: Any, parameters: dict[str, nn.Parameter], optimizer: Optimizer) -> None:
    for name, parameter in parameters.items():
        for average in AVERAGES:
            averages = getattr(allocator, average)
            if name in averages:
                optimizer.state[parameter][average] = averages[name]
            elif average in optimizer.state.get(parameter, {}):  # scores end with the last mask
                del optimizer.state[parameter][average]
    for name, kept in (allocator.peft_config.rank_pattern or {}).items():
        parameter = parameters[name]
        mask = torch.tensor(kept, device=parameter.device).view(-1, 1)
        optimizer.state[parameter][KEPT] = mask
