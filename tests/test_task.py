from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.plugins import MixedPrecision
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.optim import Optimizer

from lowrank_bench.errors import Diverged
from lowrank_bench.prepare import prepare
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
    overrides = ("method=full", "method/schedule=cosine")
    _, alone = fit(*overrides, block=1, log_every=5)
    _, together = fit(*overrides, block=16, log_every=5)
    points, points_too = ([row for row in rows if "loss" in row] for rows in (alone, together))
    assert [row["update"] for row in points] == [5, 10, 15, 20, 25, 30, 35, 40]
    assert points == points_too


def test_training_is_that_of_a_plain_loop_bit_for_bit(
    fit: Fit, composed: Callable[..., DictConfig]
) -> None:
    overrides = ("method=full", "method/optimizer=sgd", "lr=0.1", "seed=3")
    task, rows = fit(*overrides)

    data: Any = prepare(composed(*overrides)).data
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
    val: Any = prepare(composed("method=full")).data.val
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
    with pytest.raises(Diverged, match=r"became inf at update 17$"):
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


# Slots of the method


def test_the_transform_moves_the_weights_as_it_says(fit: Fit) -> None:
    options = ("method=full", "method/optimizer=sgd", "epochs=1")
    doubled, _ = fit(*options, "lr=0.05", transform=lambda inner, *_: Doubling(inner))
    plain, _ = fit(*options, "lr=0.1")
    for ours, theirs in zip(doubled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_schedule_moves_the_rate_of_the_inner_rule(fit: Fit) -> None:
    options = ("method=full", "method/optimizer=sgd", "method/schedule=cosine", "epochs=1")
    doubled, rows = fit(*options, "lr=0.1", transform=lambda inner, *_: Doubling(inner))
    assert doubled.trainer.optimizers[0].inner.param_groups[0]["lr"] == pytest.approx(0.01)
    assert rows[-1]["lr"] == pytest.approx(0.01)


def test_the_penalty_is_added_to_the_loss(fit: Fit) -> None:
    _, rows = fit("method=full", "lr=1e-30", "epochs=1")
    _, penalised = fit(
        "method=full", "lr=1e-30", "epochs=1", penalty=lambda model: torch.tensor(2.0)
    )
    assert penalised[-1]["train_loss"] == pytest.approx(rows[-1]["train_loss"] + 2)
    assert penalised[-1]["val_loss"] == rows[-1]["val_loss"]  # no part of what is measured


def test_the_penalty_sends_gradients(fit: Fit) -> None:
    def shrinks(model: nn.Module) -> Tensor:
        return 100 * sum((p.square().sum() for p in model.parameters()), torch.zeros(()))

    options = ("method=full", "method/optimizer=sgd", "lr=0.001", "epochs=1")
    plain, _ = fit(*options)
    shrunk, _ = fit(*options, penalty=shrinks)
    for small, large in zip(shrunk.parameters(), plain.parameters(), strict=True):
        assert small.norm() < 0.1 * large.norm()


@pytest.mark.parametrize("block", [1, 16])
def test_hooks_are_called_in_order_with_the_index_of_the_update(fit: Fit, block: int) -> None:
    events: list[tuple[str, str, int]] = []
    hooks = {"a": Watcher("a", events), "absent": None, "b": Watcher("b", events)}
    task, _ = fit("method=full", "epochs=2", block=block, hooks=hooks)
    assert task.update == 40
    assert events == [
        (moment, name, update)
        for update in range(40)
        for moment in ("before_step", "after_step", "step_end")
        for name in ("a", "b")
    ]


def test_hooks_see_the_weights_and_rates_of_their_moment(fit: Fit) -> None:
    witness = Witness()
    schedule = "method/schedule=cosine"
    fit("method=full", "method/optimizer=sgd", schedule, "epochs=1", hooks={"w": witness})
    assert witness.seen == [
        f"{moment} {what}"
        for moment, what in [
            ("before_step", "gradient there, weight not yet moved, rate of this update"),
            ("after_step", "gradient there, weight moved, rate of the next update"),
            ("step_end", "gradient there, weight moved, rate of the next update"),
        ]
    ]


class Doubling(Optimizer):
    """Doubles every gradient before the inner rule sees it."""

    def __init__(self, inner: Optimizer) -> None:
        self.inner = inner
        super().__init__(inner.param_groups, inner.defaults)
        self.param_groups = inner.param_groups

    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad *= 2
        self.inner.step()
        return loss


class Watcher:
    def __init__(self, name: str, events: list[tuple[str, str, int]]) -> None:
        self.name, self.events = name, events

    def before_step(self, model: nn.Module, optimizer: Any, update: int) -> None:
        assert optimizer.param_groups[0]["params"][0] is next(model.parameters())
        self.events.append(("before_step", self.name, update))

    def after_step(self, model: nn.Module, optimizer: Any, update: int) -> None:
        self.events.append(("after_step", self.name, update))

    def step_end(self, model: nn.Module, optimizer: Any, update: int) -> None:
        self.events.append(("step_end", self.name, update))


class Witness:
    """Describes what the hooks of one update see."""

    update = 5

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.weight, self.rate = torch.empty(0), 0.0

    def step_end(self, model: nn.Module, optimizer: Any, update: int) -> None:
        if update == self.update:
            self.describe("step_end", model, optimizer)
        self.weight = next(model.parameters()).detach().clone()
        self.rate = optimizer.param_groups[0]["lr"]  # of the next update

    def before_step(self, model: nn.Module, optimizer: Any, update: int) -> None:
        if update == self.update:
            self.describe("before_step", model, optimizer)

    def after_step(self, model: nn.Module, optimizer: Any, update: int) -> None:
        if update == self.update:
            self.describe("after_step", model, optimizer)

    def describe(self, moment: str, model: nn.Module, optimizer: Any) -> None:
        parameter = next(model.parameters())
        gradient = "there" if parameter.grad is not None and parameter.grad.any() else "gone"
        weight = "not yet moved" if torch.equal(parameter, self.weight) else "moved"
        rate = "this" if optimizer.param_groups[0]["lr"] == self.rate else "the next"
        self.seen.append(f"{moment} gradient {gradient}, weight {weight}, rate of {rate} update")


class Sizes:
    """Remembers what a method sees of gradients, and in which precision it works."""

    def __init__(self) -> None:
        self.norms: list[float] = []
        self.types: set[torch.dtype] = set()

    def before_step(self, model: nn.Module, optimizer: Any, update: int) -> None:
        weight = model.get_parameter("head.weight")
        assert weight.grad is not None
        self.norms.append(float(weight.grad.norm()))
        self.types.add((weight @ weight.T).dtype)


def test_hooks_see_gradients_unscaled_and_work_outside_of_autocast(fit: Fit) -> None:
    plain, half, scaled = Sizes(), Sizes(), Sizes()
    line = ("method=full", "epochs=1", "lr=1e-30")
    fit(*line, hooks={"sizes": plain})
    fit(*line, "precision=bf16-mixed", block=1, hooks={"sizes": half})
    scaler = torch.amp.GradScaler("cpu", init_scale=1024)
    fp16 = MixedPrecision("16-mixed", "cpu", scaler)
    fit(*line, plugins=[fp16], block=1, hooks={"sizes": scaled})
    assert half.norms == pytest.approx(plain.norms, rel=0.05)
    assert scaled.norms == pytest.approx(plain.norms, rel=0.05)  # not 1024 times as large
    assert half.types == scaled.types == {torch.float32}
