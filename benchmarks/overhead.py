"""What the bench costs over plain PyTorch: the data path, and a whole run.

    python benchmarks/overhead.py [--rounds 5] [--epochs 2]

The founding network (784-512-512-10, SGD, batch 64, no shuffling) on Fashion-MNIST, on one CPU
thread. In each round every arm runs once, in shuffled order; a ratio is taken within its round,
and the median over rounds is reported with the lowest and the highest. 2 cores, 4 minutes.
"""

import argparse
import gzip
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader
from torchvision.datasets import FashionMNIST
from torchvision.transforms import ToTensor

from lowrank_bench.config_dir import config_dir
from lowrank_bench.data import idx
from lowrank_bench.data.folders import first_with, system
from lowrank_bench.data.loader import BlockLoader
from lowrank_bench.environment import versions
from lowrank_bench.job import Job
from lowrank_bench.prepare import prepare
from lowrank_bench.run import run

METHODS = {"full": "full", "lowrank rank=8": "lowrank"}
TARGETS = {"data path": 3.0, "full": 1.15, "lowrank rank=8": 1.3}


def composed(*overrides: str) -> DictConfig:
    """The config of a run of the founding experiment, as the command line composes it."""
    with initialize_config_dir(version_base="1.3", config_dir=str(config_dir())):
        cfg = compose("train", list(overrides), return_hydra_config=True)
    return OmegaConf.create({**cfg, "hydra": {"runtime": {"choices": cfg.hydra.runtime.choices}}})


def ours(cfg: DictConfig, folder: Path) -> None:
    """A whole run: Trainer, curves, checkpoints, receipts, record; only the process is missing."""
    code = run(cfg, Job(cfg, []).new_record(), folder, lambda message: None, alone=False)
    assert code == 0


def by_hand(cfg: DictConfig) -> None:
    """The same training and evaluation, as one would write it for oneself."""
    data, model, *_ = prepare(cfg)
    assert data.test is not None
    x, y = data.train.fetch(slice(None))
    test_x, test_y = data.test.fetch(slice(None))
    optimizer = torch.optim.SGD(model.parameters(), lr=cfg.lr)
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
        print(f"{sum(losses) / len(losses):.4f} {test_loss:.4f} {accuracy:.4f}", file=NOWHERE)


def our_epoch(cfg: DictConfig) -> None:
    data, *_ = prepare(cfg)
    loader = BlockLoader(data.train, batch_size=cfg.budget.batch_size, block=16)
    for x, y, size in loader:
        for batch_x, batch_y in zip(x.split(size), y.split(size), strict=True):
            assert len(batch_x) == len(batch_y)


def torchvision_epoch(root: Path) -> None:
    dataset = FashionMNIST(str(root), train=True, transform=ToTensor())
    for batch in DataLoader(dataset, batch_size=64):
        assert batch


def unpack(root: Path) -> None:
    """torchvision wants the files unpacked."""
    found = first_with(idx.SPELLINGS, system("fashion_mnist"))
    assert found is not None, "install Fashion-MNIST first: apt install dataset-fashion-mnist"
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in idx.FILES:
        with gzip.open(found / f"{name}.gz") as packed, open(raw / name, "wb") as plain:
            shutil.copyfileobj(packed, plain)


def seconds(arm: Callable[[], None]) -> float:
    started = perf_counter()
    arm()
    return perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        unpack(root)
        common = ("experiment=founding", "logger=local", f"epochs={options.epochs}", "rank=8")
        configs = {name: composed(*common, f"method={m}") for name, m in METHODS.items()}
        any_config = next(iter(configs.values()))
        arms: dict[tuple[str, str], Callable[[], None]] = {
            ("data path", "ours"): lambda: our_epoch(any_config),
            ("data path", "plain"): lambda: torchvision_epoch(root),
        }
        for name, cfg in configs.items():
            arms[name, "plain"] = lambda cfg=cfg: by_hand(cfg)
            arms[name, "ours"] = lambda cfg=cfg: ours(cfg, Path(tempfile.mkdtemp(dir=root)))
        for arm in arms.values():
            arm()  # once unmeasured: caches, allocators, first imports
        rounds = []
        for number in range(options.rounds):
            order = list(arms)
            random.Random(number).shuffle(order)
            rounds.append({arm: seconds(arms[arm]) for arm in order})
            Console(stderr=True).print(f"round {number + 1}/{options.rounds}", end="\r")
    show(rounds)


def show(rounds: list[dict[tuple[str, str], float]]) -> None:
    table = Table("what", "plain s", "ours s", "ratio (median)", "lowest–highest", "target")
    for name, target in TARGETS.items():
        plain = [times[name, "plain"] for times in rounds]
        own = [times[name, "ours"] for times in rounds]
        if name == "data path":
            ratios = [p / o for p, o in zip(plain, own, strict=True)]
            meaning, wanted = "faster", f"at least {target:g}×"
        else:
            ratios = [o / p for p, o in zip(plain, own, strict=True)]
            meaning, wanted = "the time", f"at most {target:g}×"
        table.add_row(
            name,
            f"{median(plain):.2f}",
            f"{median(own):.2f}",
            f"{median(ratios):.2f}× {meaning}",
            f"{min(ratios):.2f}–{max(ratios):.2f}",
            wanted,
        )
    found = versions()
    Console().print(table)
    print(f"{len(rounds)} rounds, torch {found['torch']}, lightning {found['lightning']}, 1 thread")


NOWHERE = open("/dev/null", "w")  # noqa: SIM115  (printing is part of a hand-written loop)

if __name__ == "__main__":
    main()
