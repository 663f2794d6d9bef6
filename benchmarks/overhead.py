"""What the bench costs over plain PyTorch: the data path, and a whole run.

The founding network (784-512-512-10, SGD, batch 64, no shuffling) on Fashion-MNIST, on one CPU
thread. 2 cores: 4 minutes.
"""

import signal
import tempfile
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader
from torchvision.datasets import FashionMNIST
from torchvision.transforms import ToTensor

from benchmarks.fashion import unpack
from benchmarks.measure import (
    Arm,
    Verdict,
    between,
    interleaved,
    middle,
    of,
    ratios,
    table,
    timed,
)
from lowrank_bench.config_dir import config_dir
from lowrank_bench.data.loader import BlockLoader
from lowrank_bench.job import Job
from lowrank_bench.prepare import prepare
from lowrank_bench.run import run

METHODS = {"full": "full", "lowrank rank=8": "lowrank"}
TARGETS = {"data path": 3.0, "full": 1.15, "lowrank rank=8": 1.3}
# A quick run: 2,000 training images, the network as it is
QUICK = ("data.val_size=58000",)


def composed(*overrides: str) -> DictConfig:
    """The config of a run of the founding experiment, as the command line composes it."""
    with initialize_config_dir(version_base="1.3", config_dir=str(config_dir())):
        cfg = compose("train", list(overrides), return_hydra_config=True)
    return OmegaConf.create({**cfg, "hydra": {"runtime": {"choices": cfg.hydra.runtime.choices}}})


def ours(cfg: DictConfig, folder: Path) -> None:
    """A whole run: Trainer, curves, checkpoints, receipts, record; only the process is missing."""
    kept = signal.getsignal(signal.SIGINT)  # a run ends by ignoring it, in its own process
    code = run(cfg, Job(cfg, []).new_record(), folder, lambda message: None, alone=False)
    signal.signal(signal.SIGINT, kept)
    assert code == 0


def by_hand(cfg: DictConfig) -> None:
    """The same training and evaluation, as one would write it for oneself."""
    data, model, *_ = prepare(cfg)
    assert data.test is not None
    x, y = data.train.fetch(slice(None))
    test_x, test_y = data.test.fetch(slice(None))
    optimizer = torch.optim.SGD(model.parameters(), lr=cfg.lr)
    printed = StringIO()  # which is part of a hand-written loop
    for _ in range(cfg.epochs):
        losses = []
        for start in range(0, len(y), cfg.budget.batch_size):
            batch = slice(start, start + cfg.budget.batch_size)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        with torch.no_grad():
            logits = model(test_x)
            test_loss = F.cross_entropy(logits, test_y).item()
            accuracy = (logits.argmax(1) == test_y).float().mean().item()
        print(f"{sum(losses) / len(losses):.4f} {test_loss:.4f} {accuracy:.4f}", file=printed)


def our_epoch(cfg: DictConfig) -> None:
    data, *_ = prepare(cfg)
    loader = BlockLoader(data.train, batch_size=cfg.budget.batch_size, block=16)
    for x, y, size in loader:
        for batch_x, batch_y in zip(x.split(size), y.split(size), strict=True):
            assert len(batch_x) == len(batch_y)


def torchvision_epoch(root: Path, batches: int | None) -> None:
    dataset = FashionMNIST(str(root), train=True, transform=ToTensor())
    for batch in islice(DataLoader(dataset, batch_size=64), batches):
        assert batch


def measure(quick: bool) -> dict[str, Any]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    number, epochs = (1, 1) if quick else (5, 2)
    with tempfile.TemporaryDirectory() as temporary:
        root = unpack(Path(temporary))
        common = ("experiment=founding", "logger=local", f"epochs={epochs}", "rank=8")
        common = (*common, *(QUICK if quick else ()))
        configs = {name: composed(*common, f"method={m}") for name, m in METHODS.items()}
        any_config = next(iter(configs.values()))
        arms: dict[str, Arm] = {
            "data path: ours": timed(lambda: our_epoch(any_config)),
            "data path: plain": timed(lambda: torchvision_epoch(root, 32 if quick else None)),
        }
        for name, cfg in configs.items():
            arms[f"{name}: plain"] = timed(lambda cfg=cfg: by_hand(cfg))
            arms[f"{name}: ours"] = timed(
                lambda cfg=cfg: ours(cfg, Path(tempfile.mkdtemp(dir=root)))
            )
        rounds = interleaved(arms, number)
    torch.set_num_threads(threads)
    return {"epochs": epochs, "rounds": rounds}


def _compared(found: dict[str, Any], name: str) -> tuple[list[float], list[float], list[float]]:
    """Seconds of both, and their ratios: of data how fast ours is, of a run how slow."""
    rounds, plain, own = found["rounds"], f"{name}: plain", f"{name}: ours"
    better = ratios(rounds, plain, own) if name == "data path" else ratios(rounds, own, plain)
    return of(rounds, plain), of(rounds, own), better


def verdicts(found: dict[str, Any]) -> list[Verdict]:
    told = []
    for name, target in TARGETS.items():
        *_, ratio = _compared(found, name)
        middle_ratio = float(middle(ratio, ".4f"))
        if name == "data path":
            what, wanted = "an epoch of data against torchvision's", f"at least {target:g}× as fast"
            told.append(Verdict(what, wanted, f"{middle_ratio:.0f}×", middle_ratio >= target))
        else:
            what = f"a whole run, `{name}`, against a hand-written loop"
            wanted, shown = f"at most {target:g}× the time", f"{middle_ratio:.2f}×"
            told.append(Verdict(what, wanted, shown, middle_ratio <= target))
    return told


def section(found: dict[str, Any]) -> str:
    whats = {
        "data path": "an epoch of data: torchvision's DataLoader, image by image, against ours",
        "full": "a whole run, `full`: a hand-written loop against ours",
        "lowrank rank=8": "a whole run, `lowrank rank=8`: a hand-written loop against ours",
    }
    rows = []
    for name, what in whats.items():
        plain, own, ratio = _compared(found, name)
        is_data = name == "data path"
        shown = middle(ratio, ".0f") + "× as fast" if is_data else middle(ratio) + "× the time"
        spread = between(ratio, ".0f" if is_data else ".2f")
        rows.append((what, middle(plain), middle(own), shown, spread))
    number, epochs = len(found["rounds"]), found["epochs"]
    return f"""
The founding network (784-512-512-10, SGD, batch 64, no shuffling), Fashion-MNIST, epochs a run:
{epochs}, one thread, {number} rounds.

{table(("what", "plain, s", "ours, s", "ratio", "lowest–highest"), rows)}
The hand-written loop trains on float tensors in memory, prints its loss, and evaluates the test
data after each epoch; ours does the same inside Lightning's Trainer and writes curves,
checkpoints, receipts and a record.

What made the difference:

- Images stay bytes in memory, and sixteen batches are fetched and converted at once.
- One Lightning step trains a block of sixteen updates, with the same bits as sixteen steps of one.
- Lightning enters a profiler's context for every callback at every hook inside an update. The
  bench's callbacks say that they have nothing to do there.
- Gradients are dropped by assignment rather than through `zero_grad`, and losses are kept as
  tensors and looked at once a block.
"""
