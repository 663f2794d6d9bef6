"""A training step of ours against the public implementations'.

Six linear layers of 1024 x 1024, batch 64, one CPU thread (or a GPU). A step is forward, backward
and optimizer, with AdaLoRA's allocator, without GaLore's refresh (every 200 steps on both sides).
In each round both sides of a pair take turns, a step each; the round's ratio is that of their
median steps. 2 cores, 2 to 4 minutes.
"""

import warnings
from collections.abc import Callable
from importlib.metadata import version
from itertools import chain
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.measure import Rounds, Verdict, interval, middle, of, on_device, ratios, table
from lowrank_bench import load_method

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


def compare(pair: tuple[Step, Step], rounds: int, steps: int, device: str) -> Rounds:
    """Median step of ours and theirs in each round, in seconds."""
    for step in chain(pair, pair, pair):  # allocators, caches, the first projector
        on_device(step, device)
    medians = []
    for index in range(rounds):
        order = (0, 1) if index % 2 == 0 else (1, 0)
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(steps):
            for side in order:
                times[side].append(on_device(pair[side], device))
        medians.append({"ours": median(times[0]), "theirs": median(times[1])})
    return medians


def measure(quick: bool, device: str = "cpu") -> dict[str, Any]:
    rounds, steps = (2, 1) if quick else (15, 8)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the references' own remarks
        for name, (_, our, their) in PAIRS.items():
            found[name] = compare((our(device), their(device)), rounds, steps, device)
    torch.set_num_threads(threads)
    packages = dict.fromkeys(package for package, *_ in PAIRS.values())
    return {
        "steps": steps,
        "device": device,
        "packages": {package: version(package) for package in packages},
        "rounds": found,
    }


def verdicts(found: dict[str, Any]) -> list[Verdict]:
    told = []
    for name, rounds in found["rounds"].items():
        ratio = float(middle(ratios(rounds, "ours", "theirs"), ".4f"))
        what = f"a step of {name} against {PAIRS[name][0]}"
        told.append(Verdict(what, "at most 1× the time", f"{ratio:.2f}×", ratio <= 1))
    return told


def section(found: dict[str, Any]) -> str:
    rows = []
    for name, rounds in found["rounds"].items():
        theirs, ours = (float(middle(of(rounds, side), ".6f")) for side in ("theirs", "ours"))
        ratio = ratios(rounds, "ours", "theirs")
        low, high = interval(ratio)
        spread = f"{low:.2f}–{high:.2f}"
        shown = (f"{theirs * 1e3:.1f}", f"{ours * 1e3:.1f}", middle(ratio), spread)
        rows.append((name, PAIRS[name][0], *shown))
    packages = ", ".join(f"{name} {number}" for name, number in found["packages"].items())
    number = len(next(iter(found["rounds"].values())))
    where = "one CPU thread" if found["device"] == "cpu" else found["device"]
    return f"""
Six linear layers of 1024 × 1024, batch 64, {where}. A step is forward, backward and optimizer;
AdaLoRA's allocator acts at every step on both sides; refreshes of GaLore's and APOLLO's
projections, every 200 steps, are not among them. In each of {number} rounds both sides take
turns, {found["steps"]} steps each; a round's ratio is that of its median steps, and the table
has the median over rounds with its bootstrap 95 % interval. Rank 8 (AdaLoRA from 12, GaLore and
APOLLO 128), AdamW on both sides. {packages}.

{table(("method", "against", "theirs, ms", "ours, ms", "ratio", "95 %"), rows)}
What made the difference:

- LoRA, VeRA, AdaLoRA: the scale acts on the r-wide side, and the correction is added inside its
  own matrix product.
- DoRA: the row norms of W0 + s BA come from |W0|², which is kept, and products of r columns.
  Where that would lose digits (half precision, narrow layers) the sum is formed.
- AdaLoRA: scores, averages and masks are computed for all layers of a shape at once.
- GaLore: the weight is moved by one fused product with the projection; no update of its size is
  formed.
- APOLLO: the step is one fused multiply-add with the gradient; the norm that limits it is taken
  from column norms.
"""
