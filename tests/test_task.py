from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch import Tensor, nn

from lowrank_bench.errors import Diverged
from lowrank_bench.run import prepare
from lowrank_bench.seeds import derive

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning")

Fit = Callable[..., tuple[Any, list[dict[str, Any]]]]

PER_EPOCH = 20  # 1257 images in batches of 64, the last of them ragged
METHODS = {
    "full, adamw, cosine": ("method=full", "method/schedule=cosine"),
    "lora, adamw": ("method=lora", "lr=0.01"),
}


def timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.mark.parametrize("overrides", METHODS.values(), ids=METHODS)
def test_a_block_of_sixteen_updates_gives_the_bits_of_single_ones(
    fit: Fit, overrides: tuple[str, ...]
) -> None:
    alone, rows_alone = fit(*overrides, block=1)
    together, rows_together = fit(*overrides, block=16)
    weights, weights_too = alone.model.state_dict(), together.model.state_dict()
    assert all(torch.equal(weights[name], weights_too[name]) for name in weights)
    epochs, epochs_too = ([r for r in rows if "epoch" in r] for rows in (rows_alone, rows_together))
    assert [row["update"] for row in epochs] == [PER_EPOCH, 2 * PER_EPOCH]
    assert timeless(epochs) == timeless(epochs_too)


def test_the_points_of_the_loss_curve_do_not_depend_on_the_block(fit: Fit) -> None:
    _, alone = fit("method=full", block=1, log_every=5)
    _, together = fit("method=full", block=16, log_every=5)
    points, points_too = ([row for row in rows if "loss" in row] for rows in (alone, together))
    assert [row["update"] for row in points] == [5, 10, 15, 20, 25, 30, 35, 40]
    assert points == points_too


def test_training_is_that_of_a_plain_loop_bit_for_bit(
    fit: Fit, composed: Callable[..., DictConfig]
) -> None:
    overrides = ("method=full", "method/optimizer=sgd", "lr=0.1", "seed=3")
    task, rows = fit(*overrides)

    data, _, _ = prepare(composed(*overrides))
    x, y = data.train.x.float() / 16, data.train.y
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 16),
        nn.ReLU(),
        nn.Linear(16, 16),
        nn.ReLU(),
        nn.Linear(16, 10),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for epoch in range(2):
        generator = torch.Generator().manual_seed(derive(3, "order", epoch))
        for batch in torch.randperm(len(y), generator=generator).split(64):
            loss = F.cross_entropy(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())

    for ours, theirs in zip(task.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    means = [sum(losses[:PER_EPOCH]) / PER_EPOCH, sum(losses[PER_EPOCH:]) / PER_EPOCH]
    assert [row["train_loss"] for row in rows if "epoch" in row] == pytest.approx(means, rel=1e-9)


def test_each_epoch_has_an_order_of_its_own(fit: Fit) -> None:
    _, rows = fit("method=full", "lr=1e-30", block=1, log_every=1)  # nothing ever moves
    losses = [row["loss"] for row in rows if "loss" in row]
    assert len(losses) == 2 * PER_EPOCH
    assert losses[:PER_EPOCH] != losses[PER_EPOCH:]


def test_validation_measures_every_image_once(
    fit: Fit, composed: Callable[..., DictConfig]
) -> None:
    task, rows = fit("method=full", "lr=0.01")
    val = prepare(composed("method=full"))[0].val
    assert val is not None
    with torch.no_grad():
        logits = task.model(val.x.float() / 16)
    assert rows[-1]["val_loss"] == pytest.approx(F.cross_entropy(logits, val.y).item(), rel=1e-5)
    assert rows[-1]["val_accuracy"] == float((logits.argmax(-1) == val.y).double().mean())
    assert rows[-1]["val_accuracy"] > 0.5  # it has learned something


@pytest.mark.parametrize("block", [1, 16])
@pytest.mark.parametrize("update", [0, 5, PER_EPOCH + 3])
def test_a_loss_that_is_no_number_ends_the_run_and_names_its_update(
    fit: Fit, update: int, block: int
) -> None:
    with pytest.raises(Diverged, match=f"became nan at update {update}$") as error:
        fit("method=full", block=block, penalty=Breaks(update, float("nan")))
    assert error.value.update == update


def test_an_infinite_loss_ends_the_run_too(fit: Fit) -> None:
    with pytest.raises(Diverged, match="became inf at update 17$"):
        fit("method=full", penalty=Breaks(17, float("inf")))


def test_a_rate_beyond_reason_diverges(fit: Fit) -> None:
    with pytest.raises(Diverged):
        fit("method=full", "method/optimizer=sgd", "lr=1e8")


class Breaks:
    """A penalty that is `value` at one update."""

    def __init__(self, update: int, value: float) -> None:
        self.update, self.value, self.calls = update, value, 0

    def __call__(self, model: nn.Module) -> Tensor:
        self.calls += 1
        return torch.tensor(self.value if self.calls - 1 == self.update else 0.0)
