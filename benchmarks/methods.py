"""A training step of ours against the public implementations'.

    python benchmarks/methods.py [--rounds 15] [--steps 8] [--device cpu]

Six linear layers of 1024 x 1024, batch 64, one CPU thread (or a GPU). A step is forward, backward
and optimizer, with AdaLoRA's allocator, without GaLore's refresh (every 200 steps on both sides).
In each round both sides of a pair take turns, a step each; the round's ratio is that of their
median steps. The table has the median ratio over rounds with its bootstrap 95 % interval.
2 cores, 2 to 4 minutes.
"""

import argparse
import warnings
from collections.abc import Callable
from itertools import chain
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import bootstrap
from torch import nn

from lowrank_bench import load_method
from lowrank_bench.environment import versions

WIDTH, DEPTH, BATCH = 1024, 6, 64
LR, RANK, GALORE_RANK = 1e-4, 8, 128
NUM_UPDATES = 1_000_000  # more than will be done, so that no schedule ends
Step = Callable[[], None]


def stack(device: str) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH))).to(device)


def ours(recipe: str, *overrides: str) -> Callable[[str], Step]:
    def build(device: str) -> Step:
        method = load_method(recipe, overrides=[f"rank={RANK}", f"lr={LR}", *overrides])
        model = method.apply(stack(device))
        optimizer = method.optimizer(model)
        method.schedule(optimizer, NUM_UPDATES)
        x, update = torch.randn(BATCH, WIDTH, device=device), 0

        def step() -> None:
            nonlocal update
            optimizer.zero_grad(set_to_none=True)
            (F.mse_loss(model(x), x) + method.penalty(model)).backward()
            method.hooks.before_step(model, optimizer, update)
            optimizer.step()
            method.hooks.after_step(model, optimizer, update)
            method.hooks.step_end(model, optimizer, update)
            update += 1

        return step

    return build


def peft(make_config: Callable[..., Any]) -> Callable[[str], Step]:
    def build(device: str) -> Step:
        from peft import get_peft_model

        config = make_config(target_modules=[str(n) for n in range(DEPTH)])
        model: Any = get_peft_model(stack(device), config)  # type: ignore[arg-type]
        trained: Any = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=LR, weight_decay=0)
        allocate = getattr(model.base_model, "update_and_allocate", None)
        x, update = torch.randn(BATCH, WIDTH, device=device), 0

        def step() -> None:
            nonlocal update
            optimizer.zero_grad(set_to_none=True)
            F.mse_loss(model(x), x).backward()
            optimizer.step()
            if allocate is not None:
                allocate(update)
            update += 1

        return step

    return build


def public(make_optimizer: Callable[[nn.Module], Any]) -> Callable[[str], Step]:
    def build(device: str) -> Step:
        model = stack(device)
        optimizer, x = make_optimizer(model), torch.randn(BATCH, WIDTH, device=device)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            F.mse_loss(model(x), x).backward()
            optimizer.step()

        return step

    return build


def peft_lora(**settings: Any) -> Callable[..., Any]:
    def make(target_modules: list[str]) -> Any:
        from peft import LoraConfig

        return LoraConfig(r=RANK, lora_alpha=16, target_modules=target_modules, **settings)

    return make


def peft_vera(target_modules: list[str]) -> Any:
    from peft import VeraConfig

    return VeraConfig(r=RANK, target_modules=target_modules)


def peft_adalora(target_modules: list[str]) -> Any:
    from peft import AdaLoraConfig

    return AdaLoraConfig(
        init_r=12, target_r=8, target_modules=target_modules, total_step=NUM_UPDATES, deltaT=1
    )


def split(model: nn.Module, **projected: Any) -> Any:
    """Biases as they are, matrices projected."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim == 1]},
        {"params": [p for p in parameters if p.ndim == 2], "update_proj_gap": 200, **projected},
    ]


def galore(model: nn.Module) -> Any:
    from galore_torch import GaLoreAdamW

    groups = split(model, rank=GALORE_RANK, scale=0.25, proj_type="std")
    return GaLoreAdamW(groups, lr=LR, no_deprecation_warning=True)


def apollo(model: nn.Module) -> Any:
    from apollo_torch import APOLLOAdamW

    shared = {"proj_type": "std", "proj": "random", "scale_type": "channel", "scale": 1}
    return APOLLOAdamW(split(model, rank=GALORE_RANK, **shared), lr=LR)


# A mask after every update on both sides, and no orthogonality, which PEFT leaves to the loop.
BUDGET = "method.hooks.rank_budget"
EVERY_STEP = (f"{BUDGET}.interval=1", f"{BUDGET}.start=0", f"{BUDGET}.final=1")
PAIRS: dict[str, tuple[str, Callable[[str], Step], Callable[[str], Step]]] = {
    "LoRA": ("peft", ours("lora"), peft(peft_lora())),
    "DoRA": ("peft", ours("dora"), peft(peft_lora(use_dora=True))),
    "VeRA": ("peft", ours("vera"), peft(peft_vera)),
    "AdaLoRA": ("peft", ours("adalora", "~method/penalty", *EVERY_STEP), peft(peft_adalora)),
    "GaLore": ("galore-torch", ours("galore", f"rank={GALORE_RANK}"), public(galore)),
    "APOLLO": ("apollo-torch", ours("apollo", f"rank={GALORE_RANK}"), public(apollo)),
}


def timed(step: Step, device: str) -> float:
    started = perf_counter()
    step()
    if device != "cpu":
        torch.cuda.synchronize()
    return perf_counter() - started


def compare(pair: tuple[Step, Step], rounds: int, steps: int, device: str) -> np.ndarray:
    """Median step of both sides in each round, (rounds, 2) seconds."""
    for step in chain(pair, pair, pair):  # allocators, caches, the first projector
        timed(step, device)
    medians = []
    for index in range(rounds):
        order = (0, 1) if index % 2 == 0 else (1, 0)
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(steps):
            for side in order:
                times[side].append(timed(pair[side], device))
        medians.append([median(side) for side in times])
    return np.array(medians)


def main() -> None:
    parser = argparse.ArgumentParser(description="a training step against the public ones")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="*", default=list(PAIRS), choices=list(PAIRS))
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")  # the references' own remarks
    torch.set_num_threads(1)
    console = Console()
    table = Table("method", "against", "theirs, ms", "ours, ms", "ratio", "95 %")
    for name in track(chosen.only, "training", console=console, transient=True):
        package, our, their = PAIRS[name]
        pair = (our(chosen.device), their(chosen.device))
        seconds = compare(pair, chosen.rounds, chosen.steps, chosen.device)
        ratios = seconds[:, 0] / seconds[:, 1]
        interval = bootstrap(
            (ratios,), np.median, method="percentile", rng=np.random.default_rng(0)
        ).confidence_interval
        ours_ms, theirs_ms = np.median(seconds, axis=0) * 1e3
        table.add_row(
            name,
            package,
            f"{theirs_ms:.1f}",
            f"{ours_ms:.1f}",
            f"{np.median(ratios):.2f}",
            f"{interval.low:.2f}–{interval.high:.2f}",
        )
    console.print(table)
    console.print(", ".join(f"{name} {version}" for name, version in versions().items()))


if __name__ == "__main__":
    main()
