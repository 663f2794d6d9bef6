"""What an adapter costs when it serves: bytes, switching, latency, and many on one base.

A LLaMA of 13 million parameters (width 512, four blocks) with LoRA on all 28 of their linear
layers, on one CPU thread (or a GPU), no gradients. In each round the arms of a table take turns,
some steps each, in an order that rotates; the round's ratio is that of the median steps. 2 cores,
2 minutes.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import cycle
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.measure import Rounds, Verdict, interval, middle, of, on_device, ratios, table
from lowrank_bench import load_method
from lowrank_bench.layers.routing import route
from lowrank_bench.models.llama import llama
from lowrank_bench.switch import AdapterState, Merged, adapter_state, bank_of

SHAPE: dict[str, Any] = {"hidden": 512, "ff": 1376, "layers": 4, "heads": 8}
VOCABULARY, POSITIONS = 257, 256
TARGETS = "method.targets=['*_proj']"
INPUTS = {"1 × 16": (1, 16), "16 × 32": (16, 32)}  # examples x tokens
SERVED = (16, 32)  # of one batch that mixes adapters
BANKS = (2, 8)  # adapters
SWITCHES = 100
RANK = 8
Step = Callable[[], Any]


class Length(NamedTuple):
    rounds: int
    steps: int
    device: str = "cpu"


def plain(device: str) -> nn.Module:
    torch.manual_seed(0)
    model = llama(**SHAPE, vocab_size=VOCABULARY, max_positions=POSITIONS, tokens=None)
    return model.to(device).eval().requires_grad_(False)


def adapted(seed: int, device: str) -> nn.Module:
    """The base with an adapter that does something: B is drawn too."""
    method = load_method("lora", [f"rank={RANK}", TARGETS], seed=seed)
    model = method.apply(plain(device))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if name.endswith(".B"):
            drawn = torch.randn(parameter.shape, generator=generator)
            parameter.data.copy_(0.01 * drawn)
    return model.eval().requires_grad_(False)


def tokens(shape: tuple[int, int], device: str) -> Tensor:
    return torch.randint(VOCABULARY, shape, generator=torch.Generator().manual_seed(0)).to(device)


@torch.inference_mode()
def compare(arms: dict[str, Step], length: Length) -> Rounds:
    """Median step of each arm in each round, in seconds."""
    for step in [*arms.values()] * 3:  # allocators, caches
        on_device(step, length.device)
    names, medians = list(arms), []
    for index in range(length.rounds):
        times: dict[str, list[float]] = {name: [] for name in arms}
        start = index % len(names)
        for _ in range(length.steps):
            for name in [*names[start:], *names[:start]]:
                times[name].append(on_device(arms[name], length.device))
        medians.append({name: median(each) for name, each in times.items()})
    return medians


def latency(length: Length) -> dict[str, Rounds]:
    """The base, the adapter beside the weights, and in them: LoRA's "no added cost"."""
    device, found = length.device, {}
    base, beside = plain(device), adapted(1, device)
    within = Merged(adapted(1, device)).model
    for label, shape in INPUTS.items():
        x = tokens(shape, device)
        arms = {
            "base": lambda x=x: base(x),
            "adapter beside the weights": lambda x=x: beside(x),
            "adapter merged": lambda x=x: within(x),
        }
        found[label] = compare(arms, length)
    return found


def switching(length: Length) -> dict[str, Any]:
    """An exchange in place against bringing all weights anew; what a hundred of them leave."""
    device = length.device
    states = [adapter_state(adapted(seed, device)) for seed in (1, 2)]
    merged = Merged(adapted(1, device))
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
    return {
        "rounds": compare(arms, length),
        "adapter_bytes": _bytes(states[0]),
        "model_bytes": _bytes(whole[0]),
        "drift": drift(states, device),
    }


def drift(states: Sequence[AdapterState], device: str) -> float:
    """Largest |W - W*| / |W*| over the layers, W* merged once, W after many switches."""
    once = Merged(adapted(2, device)).model.state_dict()
    merged = Merged(adapted(1, device))
    for turn in range(1, SWITCHES + 1):
        merged.switch(states[turn % 2])
    merged.switch(states[1])
    found = merged.model.state_dict()
    return max(float((found[n] - w).norm() / w.norm()) for n, w in once.items() if w.ndim == 2)


def mixed(length: Length) -> dict[str, Rounds]:
    """One batch whose examples have K adapters: a bank, K forwards, or K switches."""
    device, found = length.device, {}
    x = tokens(SERVED, device)
    for count in BANKS:
        beside = [adapted(seed, device) for seed in range(count)]
        states = [adapter_state(model) for model in beside]
        bank = bank_of(plain(device), states).eval()
        ids = torch.arange(len(x), device=device) % count
        parts = [x[ids == k] for k in range(count)]
        merged = Merged(adapted(0, device))
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
        found[str(count)] = compare(arms, length)
    return found


def _bytes(state: AdapterState) -> int:
    """Of the state as a safetensors file."""
    with TemporaryDirectory() as folder:
        save_file(dict(state), Path(folder, "file"))
        return Path(folder, "file").stat().st_size


def measure(quick: bool) -> dict[str, Any]:
    length = Length(rounds=2, steps=1) if quick else Length(rounds=15, steps=4)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {
        "length": length._asdict(),
        "latency": latency(length),
        "switching": switching(length),
        "mixed": mixed(length),
    }
    torch.set_num_threads(threads)
    return found


def verdicts(found: dict[str, Any]) -> list[Verdict]:
    return []


def _rows(label: str, rounds: Rounds) -> list[tuple[str, ...]]:
    """A row an arm, its ratio to the first one's."""
    first, rows = next(iter(rounds[0])), []
    for name in rounds[0]:
        told = ("1", "")
        if name != first:
            ratio = ratios(rounds, name, first)
            low, high = interval(ratio)
            told = (middle(ratio, ".3f"), f"{low:.3f}–{high:.3f}")
        rows.append((label, name, f"{float(middle(of(rounds, name), '.8f')) * 1e3:.2f}", *told))
    return rows


def section(found: dict[str, Any]) -> str:
    def many(named: dict[str, Rounds]) -> list[tuple[str, ...]]:
        return [row for label, rounds in named.items() for row in _rows(label, rounds)]

    switched, length = found["switching"], found["length"]
    exchange = [row[1:] for row in _rows("", switched["rounds"])]
    digits, _, power = f"{switched['drift']:.1e}".partition("e")
    return f"""
A LLaMA of 13 million parameters (width 512, four blocks, the vocabulary of bytes) with LoRA of
rank {RANK} on all 28 linear layers of its blocks, no gradients, one CPU thread. In each of
{length["rounds"]} rounds the arms of a table take turns, {length["steps"]} forwards or switches
each, in an order that rotates; the ratio is to the first, with the bootstrap 95 % interval of
its median. Merged weights cost what the base's do, since they stand in the same plain linear
layers (Hu 2021, section 4.1); beside the weights, two products and a sum are added to each
layer. An exchange, W − s B A + s' B' A', is one product added in place, against copying a whole
merged model over the other. [export.md](export.md) says how each is asked for.

{table(("examples × tokens", "model", "ms", "ratio", "95 %"), many(found["latency"]))}
{table(("exchange", "ms", "ratio", "95 %"), exchange)}
The adapter is {switched["adapter_bytes"]:,} bytes, the model {switched["model_bytes"]:,}. After
{SWITCHES} switches in place the weights are off by |ΔW| / |W| = {digits} × 10^{int(power or 0)}.

One batch of {SERVED[0]} × {SERVED[1]} tokens whose examples have K adapters in turn:

{table(("K", "how", "ms", "ratio", "95 %"), many(found["mixed"]))}"""
