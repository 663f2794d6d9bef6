"""torch.compile changes how fast a method trains, and nothing of what it does.

Most of this compiles with `aot_eager`, which traces forward and backward as the default backend
does and leaves out the writing of kernels.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch._dynamo
from torch._dynamo.utils import counters

from lowrank_bench.config_dir import config_dir
from lowrank_bench.errors import ConfigError
from lowrank_bench.models.compiling import check_compiler

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning"),
    # torch looks at every tensor's gradient where PEFT breaks the graph, and silences itself
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
]

Fit = Callable[..., tuple[Any, list[dict[str, Any]]]]

RECIPES = sorted(path.stem for path in (config_dir() / "method").glob("*.yaml"))
PROJECTED = ["apollo", "apollo_mini", "fira", "galore"]
FACTORISED = ["ae", "cola", "lowrank", "sltrain"]
PAIR = ("pair=digits_halves", "model.hidden=[16,16]")  # so that heads are swapped too
BANK = ("data.adapters=3", "method.adapter.num_adapters=3")
SHORT = ("epochs=2", "budget.updates_per_epoch=4", "lr=0.01", "rank=4")


@pytest.fixture(autouse=True)
def strict() -> Iterator[None]:
    """Nothing compiled before, and an error where a model is compiled again and again."""
    torch._dynamo.reset()
    counters.clear()
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        yield
    torch._dynamo.reset()


def options(recipe: str) -> tuple[str, ...]:
    """So that masks, restarts, projections and adapters of a bank are there in eight updates."""
    more = ("method.transform.update_gap=3",) if recipe in PROJECTED else ()
    pair = () if recipe in FACTORISED else PAIR
    return (*pair, f"method={recipe}", *SHORT, *more, *(BANK if recipe == "flora" else ()))


def agree(plain: list[dict[str, Any]], compiled: list[dict[str, Any]], rel: float = 1e-4) -> None:
    assert len([row for row in plain if "loss" in row]) == 8
    for one, other in zip(plain, compiled, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            if name != "seconds":
                assert other[name] == pytest.approx(value, rel=rel), name


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_compiled_method_trains_as_it_does_uncompiled(fit: Fit, recipe: str) -> None:
    _, plain = fit(*options(recipe), block=1, log_every=1)
    task, compiled = fit(*options(recipe), "run.compile=true", block=1, log_every=1)
    assert task.model._compiled_call_impl is not None
    assert counters["stats"]["unique_graphs"] > 0
    assert not counters["graph_break"]
    agree(plain, compiled)


@pytest.mark.parametrize(
    "more",
    [
        ("run.accumulate=2", "budget.clip_norm=0.5"),
        ("run.checkpoint_activations=true",),
        ("precision=bf16-mixed",),
        ("precision=64-true",),
    ],
    ids=lambda more: more[0],
)
def test_it_goes_with_the_other_features(fit: Fit, more: tuple[str, ...]) -> None:
    line = (*options("lora"), *more)
    _, plain = fit(*line, block=1, log_every=1)
    _, compiled = fit(*line, "run.compile=true", block=1, log_every=1)
    agree(plain, compiled, rel=0.01 if "bf16" in more[0] else 1e-4)


def test_dropout_is_drawn_in_training_and_not_in_evaluation(fit: Fit) -> None:
    line = ("method=lora", *SHORT, "method.adapter.dropout=0.9", "method.adapter.alpha=64")
    task, _ = fit(*line, "run.compile=true", block=1)
    x = torch.ones(4, 1, 8, 8)
    with torch.no_grad():
        task.model.train()
        assert not torch.equal(task.model(x), task.model(x))
        task.model.eval()
        assert torch.equal(task.model(x), task.model(x))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["lora", "adalora"])
def test_the_default_backend_gives_the_same(fit: Fit, recipe: str) -> None:
    _, plain = fit(*options(recipe), block=1, log_every=1)
    line = (*options(recipe), "run.compile=true")
    _, compiled = fit(*line, block=1, log_every=1, backend="inductor")
    agree(plain, compiled)


@pytest.mark.slow
def test_what_compiles_here_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    check_compiler("cpu")

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("\n  no working C++ compiler\n\nSet TORCH_LOGS for more\n")

    monkeypatch.setattr(torch, "compile", fail)
    line = r"^run\.compile=true: torch\.compile does not work here: no working C\+\+ compiler$"
    with pytest.raises(ConfigError, match=line):
        check_compiler("cpu")
