"""What people expect of a trainer: each changes how a run is worked off, not what it learns."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.plugins import MixedPrecision
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from lowrank_bench.checks import check
from lowrank_bench.errors import ConfigError
from lowrank_bench.identity import identify
from lowrank_bench.prepare import prepare
from lowrank_bench.seeds import derive

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning")

Fit = Callable[..., tuple[Any, list[dict[str, Any]]]]
Compose = Callable[..., DictConfig]

EXACT = "precision=64-true"
METHODS = {
    "full": ("method=full",),
    "lora with a penalty and masks": ("method=adalora", "lr=0.01"),
    "projected gradients": ("method=galore", "method.transform.update_gap=7"),
    "restarts": ("method=relora", "lr=0.01"),
    "a bank": ("method=flora", "data.adapters=3", "method.adapter.num_adapters=3", "lr=0.01"),
}


def losses(rows: list[dict[str, Any]]) -> list[float]:
    return [row["loss"] for row in rows if "loss" in row]


def apart(one: nn.Module, other: nn.Module) -> float:
    """The largest difference between two models' weights."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs if a.numel())


class Norms:
    """Remembers how large all gradients are, together, when a method first sees them."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def before_step(self, model: nn.Module, optimizer: Any, update: int) -> None:
        grads = [p.grad.norm() for p in model.parameters() if p.grad is not None]
        self.seen.append(float(torch.stack(grads).norm()))


# Accumulation


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("overrides", METHODS.values(), ids=METHODS)
def test_a_batch_in_parts_is_the_batch(fit: Fit, overrides: tuple[str, ...], parts: int) -> None:
    whole, rows = fit(*overrides, EXACT, log_every=1)
    split, rows_split = fit(*overrides, EXACT, f"run.accumulate={parts}", log_every=1, block=1)
    assert len(losses(rows)) == 40  # the last batch of an epoch is 41 images in uneven parts
    assert losses(rows_split) == pytest.approx(losses(rows), abs=1e-10)
    assert apart(whole.model, split.model) < 1e-10


def test_a_batch_smaller_than_its_parts_is_worked_off_one_by_one(fit: Fit) -> None:
    line = ("method=lora", EXACT, "budget.batch_size=3", "budget.updates_per_epoch=4")
    whole, _ = fit(*line)
    split, _ = fit(*line, "run.accumulate=8", block=1)
    assert apart(whole.model, split.model) < 1e-10


# Clipping


def test_clipping_is_that_of_a_plain_loop_bit_for_bit(fit: Fit, composed: Compose) -> None:
    line = ("method=full", "method/optimizer=sgd", "lr=0.5", "seed=3", "epochs=1")
    task, _ = fit(*line, "budget.clip_norm=0.05")
    data: Any = prepare(composed(*line)).data
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
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    generator = torch.Generator().manual_seed(derive(3, "order", 0))
    for batch in torch.randperm(len(y), generator=generator).split(64):
        optimizer.zero_grad()
        F.cross_entropy(model(x[batch]), y[batch]).backward()
        assert clip_grad_norm_(model.parameters(), 0.05) > 0.05
        optimizer.step()
    for ours, theirs in zip(task.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_a_method_sees_clipped_gradients_of_their_own_size(
    fit: Fit, precision: str, parts: int
) -> None:
    norms, plain = Norms(), Norms()
    line = ("method=full", "epochs=1", "lr=1e-30", f"run.accumulate={parts}")
    scaler = torch.amp.GradScaler("cpu", init_scale=1024)
    more: Any = {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]}
    how = ((), more) if precision == "16-mixed" else ((f"precision={precision}",), {})
    fit(*line, *how[0], block=1, hooks={"norms": plain}, **how[1])
    assert min(plain.seen) > 0.02
    fit(*line, *how[0], "budget.clip_norm=0.02", block=1, hooks={"norms": norms}, **how[1])
    assert norms.seen == pytest.approx([0.02] * 20, rel=1e-3)


def test_gradients_below_the_norm_are_left_alone(fit: Fit) -> None:
    plain, _ = fit("method=lora")
    clipped, _ = fit("method=lora", "budget.clip_norm=1e6")
    assert apart(plain.model, clipped.model) == 0


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("budget.clip_norm=1", "budget.clip_norm=1"),
        ("run.accumulate=2", "run.accumulate=2"),
        ("run.devices=2", "run.devices=2"),
        ("precision=16-mixed", "precision=16-mixed"),
    ],
)
def test_a_rule_that_steps_in_the_backward_pass_leaves_no_gradients_for_it(
    composed: Compose, override: str, key: str
) -> None:
    line = ("method=galore", "method.transform.per_layer=true")
    check(composed(*line))
    with pytest.raises(ConfigError, match=rf"^{key}: does not go with method\.transform\.per_l"):
        check(composed(*line, override))


# Epochs that are no whole pass


@pytest.mark.parametrize("block", [1, 16])
def test_an_epoch_of_so_many_updates_has_a_new_order_each_time(fit: Fit, block: int) -> None:
    line = ("method=full", "lr=1e-30", "epochs=3", "budget.updates_per_epoch=5")
    task, rows = fit(*line, block=block, log_every=1)
    assert task.update == 15
    assert [row["update"] for row in rows if "epoch" in row] == [5, 10, 15]
    found = losses(rows)
    assert len({*found}) == len(found) == 15  # nothing moves: another loss is another batch


def test_the_block_changes_nothing_in_such_an_epoch(fit: Fit) -> None:
    line = ("method=adalora", "lr=0.01", "epochs=3", "budget.updates_per_epoch=7")
    alone, _ = fit(*line, block=1)
    together, _ = fit(*line, block=4)
    assert apart(alone.model, together.model) == 0


def test_an_epoch_longer_than_the_data_is_refused(composed: Compose) -> None:
    prepare(composed("budget.updates_per_epoch=20"))
    with pytest.raises(ConfigError, match=r"^budget\.updates_per_epoch=21: .* 1257 .* has 20; "):
        prepare(composed("budget.updates_per_epoch=21"))


def test_an_epoch_that_is_always_the_same_few_batches_is_refused(composed: Compose) -> None:
    line = ("budget.updates_per_epoch=5", "budget.shuffle=false")
    with pytest.raises(ConfigError, match=r"^budget\.updates_per_epoch=5: .*shuffle=true$"):
        check(composed(*line))


# Checkpointed activations


@pytest.mark.parametrize(
    "overrides",
    [
        ("method=full",),
        ("method=lora", "method.adapter.dropout=0.4", "lr=0.01"),
        ("method=adalora", "method.adapter.dropout=0.4", "lr=0.01"),
        ("method=galore", "method.transform.update_gap=7", "method.transform.per_layer=true"),
        ("method=flora", "data.adapters=3", "method.adapter.num_adapters=3", "run.accumulate=2"),
        ("method=lora", "method.adapter.dropout=0.4", "precision=bf16-mixed"),
    ],
    ids=lambda overrides: " ".join(overrides),
)
def test_activations_computed_twice_are_the_same(fit: Fit, overrides: tuple[str, ...]) -> None:
    kept, _ = fit(*overrides, "epochs=1", block=1)
    again, _ = fit(*overrides, "epochs=1", "run.checkpoint_activations=true", block=1)
    assert apart(kept.model, again.model) == 0
    assert list(kept.model.state_dict()) == list(again.model.state_dict())


def test_activations_of_blocks_are_not_kept(composed: Compose) -> None:
    """By what autograd saves in a forward: without them, only what enters a block."""

    def saved(*overrides: str) -> int:
        data, model, *_ = prepare(composed("method=full", "model.hidden=[300,300]", *overrides))
        x, _ = data.train.fetch(slice(0, 8))
        shapes: list[torch.Size] = []

        def packed(tensor: Tensor) -> Tensor:
            shapes.append(tensor.shape)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(packed, lambda tensor: tensor):
            model(x)
        return len(shapes)

    assert saved("run.checkpoint_activations=true") < saved()


def test_of_blocks_within_blocks_the_outermost_is_checkpointed(composed: Compose) -> None:
    line = ("method=lora", "model.hidden=[16,16]", "run.checkpoint_activations=true")
    _, model, *_ = prepare(composed(*line, "model.blocks=['hidden.*']"))
    patched = [name for name, module in model.named_modules() if "forward" in vars(module)]
    assert patched == ["hidden.0", "hidden.1"]


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("model.blocks=null", r"^run\.checkpoint_activations=true: this model names no blocks"),
        ("model.blocks=['layers.*']", r"^model\.blocks: the glob 'layers\.\*' matches nothing"),
    ],
)
def test_a_model_without_blocks_is_a_mistake_before_training(
    composed: Compose, override: str, line: str
) -> None:
    with pytest.raises(ConfigError, match=line):
        prepare(composed("run.checkpoint_activations=true", override))


# What a run is


@pytest.mark.parametrize(
    "override", ["run.accumulate=4", "run.compile=true", "run.checkpoint_activations=true"]
)
def test_how_a_run_is_worked_off_makes_no_other_run(composed: Compose, override: str) -> None:
    assert identify(composed()) == identify(composed(override))


@pytest.mark.parametrize("override", ["budget.clip_norm=1", "budget.updates_per_epoch=5"])
def test_what_decides_the_outcome_makes_another_control(composed: Compose, override: str) -> None:
    plain, other = identify(composed()), identify(composed(override))
    assert plain.control_hash != other.control_hash
    assert plain.method_hash == other.method_hash
