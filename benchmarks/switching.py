"""What an adapter costs when it serves: bytes, switching, latency, and many on one base.

    python benchmarks/switching.py [--rounds 15] [--steps 4] [--rank 8] [--device cpu]

A LLaMA of 13 million parameters (width 512, four blocks) with LoRA on all 28 of their linear
layers, on one CPU thread (or a GPU), no gradients. In each round the arms of a table take turns,
some steps each, in an order that rotates; the round's ratio is that of the median steps. A table
has medians over rounds, and of the ratio the bootstrap 95 % interval. 2 cores, 2 minutes.
"""

import argparse
from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import cycle
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from safetensors.torch import save_file
from scipy.stats import bootstrap
from torch import Tensor, nn

from lowrank_bench import load_method
from lowrank_bench.environment import versions
from lowrank_bench.layers.routing import route
from lowrank_bench.models.llama import llama
from lowrank_bench.switch import AdapterState, Merged, adapter_state, bank_of

SHAPE = {"hidden": 512, "ff": 1376, "layers": 4, "heads": 8}
VOCABULARY, POSITIONS = 257, 256
TARGETS = "method.targets=['*_proj']"
INPUTS = {"1 x 16": (1, 16), "16 x 32": (16, 32)}  # examples x tokens
SERVED = (16, 32)  # of one batch that mixes adapters
BANKS = (2, 8)  # adapters
SWITCHES = 100
Step = Callable[[], Any]


def plain(device: str) -> nn.Module:
    torch.manual_seed(0)
    model = llama(**SHAPE, vocab_size=VOCABULARY, max_positions=POSITIONS, tokens=None)
    return model.to(device).eval().requires_grad_(False)


def adapted(rank: int, seed: int, device: str) -> nn.Module:
    """The base with an adapter that does something: B is drawn too."""
    method = load_method("lora", [f"rank={rank}", TARGETS], seed=seed)
    model = method.apply(plain(device))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if name.endswith(".B"):
            drawn = torch.randn(parameter.shape, generator=generator)
            parameter.data.copy_(0.01 * drawn)
    return model.eval().requires_grad_(False)


def tokens(shape: tuple[int, int], device: str) -> Tensor:
    return torch.randint(VOCABULARY, shape, generator=torch.Generator().manual_seed(0)).to(device)


def timed(step: Step, device: str) -> float:
    started = perf_counter()
    step()
    if device != "cpu":
        torch.cuda.synchronize()
    return perf_counter() - started


@torch.inference_mode()
def compare(arms: dict[str, Step], rounds: int, steps: int, device: str) -> dict[str, np.ndarray]:
    """Median step (rounds) of each arm in each round, in seconds."""
    for step in [*arms.values()] * 3:  # allocators, caches
        timed(step, device)
    found: dict[str, list[float]] = {name: [] for name in arms}
    names = list(arms)
    for index in track(range(rounds), "timing", transient=True):
        times: dict[str, list[float]] = {name: [] for name in arms}
        start = index % len(names)
        for _ in range(steps):
            for name in [*names[start:], *names[:start]]:
                times[name].append(timed(arms[name], device))
        for name in names:
            found[name].append(median(times[name]))
    return {name: np.array(each) for name, each in found.items()}


def add_rows(table: Table, label: str, seconds: dict[str, np.ndarray]) -> None:
    """A row an arm, its ratio to the first one's."""
    first = next(iter(seconds.values()))
    for name, each in seconds.items():
        ratios = each / first
        told = ("1", "")
        if each is not first:
            interval = bootstrap(
                (ratios,), np.median, method="percentile", rng=np.random.default_rng(0)
            ).confidence_interval
            told = (f"{np.median(ratios):.3f}", f"{interval.low:.3f}–{interval.high:.3f}")
        table.add_row(label, name, f"{np.median(each) * 1e3:.2f}", *told)


def latency(chosen: argparse.Namespace) -> Table:
    """The base, the adapter beside the weights, and in them: LoRA's "no added cost"."""
    device = chosen.device
    table = Table("examples x tokens", "model", "ms", "ratio to base", "95 %")
    base, beside = plain(device), adapted(chosen.rank, 1, device)
    within = Merged(adapted(chosen.rank, 1, device)).model
    for label, shape in INPUTS.items():
        x = tokens(shape, device)
        arms = {
            "base": lambda x=x: base(x),
            "adapter beside the weights": lambda x=x: beside(x),
            "adapter merged": lambda x=x: within(x),
        }
        add_rows(table, label, compare(arms, chosen.rounds, chosen.steps, device))
    return table


def switching(chosen: argparse.Namespace) -> tuple[Table, str]:
    """An exchange in place against bringing all weights anew; what a hundred of them leave."""
    device = chosen.device
    states = [adapter_state(adapted(chosen.rank, seed, device)) for seed in (1, 2)]
    merged = Merged(adapted(chosen.rank, 1, device))
    whole = [deepcopy(merged.model.state_dict()) for _ in states]
    for state, target in zip(states, whole, strict=True):
        merged.switch(state)
        target.update({name: t.clone() for name, t in merged.model.state_dict().items()})
    other = plain(device)
    adapters, weights = cycle(states), cycle(whole)
    arms = {
        "switch in place": lambda: merged.switch(next(adapters)),
        "copy a whole merged model over it": lambda: other.load_state_dict(next(weights)),
    }
    table = Table("", "what", "ms", "ratio", "95 %")
    add_rows(table, f"rank {chosen.rank}", compare(arms, chosen.rounds, chosen.steps, device))
    told = f"{_bytes(states[0]):,} bytes of adapter, {_bytes(whole[0]):,} of model; "
    return table, told + f"after {SWITCHES} switches |dW| / |W| is {drift(states, chosen):.1e}"


def drift(states: Sequence[AdapterState], chosen: argparse.Namespace) -> float:
    """Largest |W - W*| / |W*| over the layers, W* merged once, W after many switches."""
    once = Merged(adapted(chosen.rank, 2, chosen.device)).model.state_dict()
    merged = Merged(adapted(chosen.rank, 1, chosen.device))
    for turn in range(1, SWITCHES + 1):
        merged.switch(states[turn % 2])
    merged.switch(states[1])
    found = merged.model.state_dict()
    return max(float((found[n] - w).norm() / w.norm()) for n, w in once.items() if w.ndim == 2)


def serving(chosen: argparse.Namespace) -> Table:
    """One batch whose examples have K adapters: a bank, K forwards, or K switches."""
    device = chosen.device
    table = Table("adapters", "how", "ms", "ratio to bank", "95 %")
    x = tokens(SERVED, device)
    for count in BANKS:
        beside = [adapted(chosen.rank, seed, device) for seed in range(count)]
        states = [adapter_state(model) for model in beside]
        bank = bank_of(plain(device), states).eval()
        ids = torch.arange(len(x), device=device) % count
        parts = [x[ids == k] for k in range(count)]
        merged = Merged(adapted(chosen.rank, 0, device))
        route(bank, ids)

        def apart(models: Sequence[nn.Module] = beside, parts: Sequence[Tensor] = parts) -> None:
            for model, part in zip(models, parts, strict=True):
                model(part)

        def in_turn(
            merged: Merged = merged,
            states: Sequence[AdapterState] = states,
            parts: Sequence[Tensor] = parts,
        ) -> None:
            for state, part in zip(states, parts, strict=True):
                merged.switch(state).model(part)

        with torch.inference_mode():
            alone = torch.cat([m(p) for m, p in zip(beside, parts, strict=True)])
            together = torch.cat([bank(x)[ids == k] for k in range(count)])
            torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)
        arms = {
            "one forward of a bank": lambda bank=bank: bank(x),
            "a forward for each adapter": apart,
            "a switch and a forward for each": in_turn,
        }
        add_rows(table, str(count), compare(arms, chosen.rounds, chosen.steps, device))
    return table


def _bytes(state: AdapterState) -> int:
    """Of the state as a safetensors file."""
    with TemporaryDirectory() as folder:
        save_file(dict(state), Path(folder, "file"))
        return Path(folder, "file").stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description="what an adapter costs when it serves")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    console = Console()
    console.print(latency(chosen))
    table, told = switching(chosen)
    console.print(table)
    console.print(told)
    console.print(serving(chosen))
    console.print(", ".join(f"{name} {version}" for name, version in versions().items()))


if __name__ == "__main__":
    main()
