"""Batches whose examples have unequal numbers of targets, in parts and on several devices."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowrank_bench import load_method
from lowrank_bench.data.loader import BlockLoader
from lowrank_bench.isolate import Tell, isolated
from lowrank_bench.objectives.causal_lm import IGNORED, CausalLM
from lowrank_bench.task import Task

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*treespec, LeafSpec:FutureWarning",
    "ignore:.*does not have many workers",
    "ignore:.*but have no .val_dataloader",
)

VOCAB, LENGTH = 7, 6


class Answers:
    """Sequences of which only the end is asked for, a longer one in each than in the last."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randint(VOCAB, (11, LENGTH), generator=generator)
        self.y = torch.randint(VOCAB, (11, LENGTH), generator=generator)
        for i, row in enumerate(self.y):
            row[: LENGTH - i % LENGTH] = IGNORED  # example 0 and 6 have no target at all

    def __len__(self) -> int:
        return len(self.x)

    def fetch(self, index: slice | Tensor) -> tuple[Tensor, Tensor]:
        return self.x[index], self.y[index]

    def count(self, index: slice | Tensor) -> int:
        return int((self.y[index] != IGNORED).sum())

    def fetch_ids(self, index: slice | Tensor) -> Tensor | None:
        return None


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(VOCAB, 5), nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, VOCAB))


def trained(folder: Path, batch_size: int, *, accumulate: int = 1, rank: int = 0, of: int = 1):
    """Weights and losses of two epochs of plain SGD through the task."""
    torch.set_num_threads(1)
    method = load_method("full", ["method/optimizer=sgd", "lr=0.5"])
    task = Task(
        method.apply(net()),
        method,
        CausalLM("answers", VOCAB, 1.0),
        num_updates=2 * -(-11 // batch_size),
        seed=0,
        eval_names=[],
        log_every=1,
        accumulate=accumulate,
    )
    seen: list[float] = []
    account = task._account

    def remember(losses: Tensor, values: Any, rates: Any) -> None:
        seen.extend(losses.tolist())
        account(losses, values, rates)

    task._account = remember  # type: ignore[method-assign]
    trainer = L.Trainer(
        accelerator="cpu",
        devices=of,
        strategy="ddp" if of > 1 else "auto",
        precision="64-true",
        max_epochs=2,
        logger=False,
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(task, BlockLoader(Answers(), batch_size=batch_size, rank=rank, world_size=of))
    return task.model.state_dict(), seen


def expected(batch_size: int) -> tuple[dict[str, Tensor], list[float]]:
    """The same by a plain loop, each batch's loss the mean over all of its targets."""
    model, data, losses = net().double(), Answers(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(2):
        for x, y in zip(data.x.split(batch_size), data.y.split(batch_size), strict=True):
            loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten(), ignore_index=IGNORED)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return model.state_dict(), losses


def check(found: tuple[dict[str, Tensor], list[float]], batch_size: int) -> None:
    weights, losses = expected(batch_size)
    assert found[1] == pytest.approx(losses, abs=1e-12)
    for name, weight in weights.items():
        torch.testing.assert_close(found[0][name], weight, atol=1e-12, rtol=0)


@pytest.mark.parametrize("accumulate", [1, 2, 3, 4])
def test_the_parts_of_a_batch_count_by_their_targets(tmp_path: Path, accumulate: int) -> None:
    check(trained(tmp_path, 4, accumulate=accumulate), 4)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_devices_count_by_their_targets(tmp_path: Path, accumulate: int) -> None:
    """Batches of five, so that one device has three examples and the other two, in as many
    parts; of the last batch, of one example, the other device has none.
    """

    def work(tell: Tell) -> int:
        import os

        rank = int(os.environ["RANK"])
        found = trained(tmp_path, 5, accumulate=accumulate, rank=rank, of=2)
        torch.save(found, tmp_path / f"found-{rank}")
        return 0

    assert isolated(work, ranks=2, log=tmp_path / "log") == 0, (tmp_path / "log").read_text()
    for rank in (0, 1):
        check(torch.load(tmp_path / f"found-{rank}"), 5)
