"""Adapters of several runs on the base that they share."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from export_runs import loss_of, recorded_loss

from lowrank_bench.errors import ConfigError
from lowrank_bench.export.from_runs import adapter_of, bank_of_runs
from lowrank_bench.export.rebuilt import rebuilt
from lowrank_bench.layers.routing import route
from lowrank_bench.switch import Merged

Trained = Callable[..., Path]
KEPT = ("pair=digits_halves", "base.head=kept")  # the head is a target like any layer


def test_one_batch_is_served_from_the_runs_of_several_methods(trained: Trained) -> None:
    runs = [trained(*KEPT, f"method={name}") for name in ("lora", "pissa", "adalora", "vera")]
    bank = bank_of_runs(runs).eval()
    found = [rebuilt(run) for run in runs]
    x = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([3, 0, 2, 1, 1, 2, 0, 3])
    route(bank, ids)
    alone = torch.cat([found[int(k)].model(x[e : e + 1]) for e, k in enumerate(ids)])
    torch.testing.assert_close(bank(x), alone, rtol=1e-4, atol=1e-5)


def test_a_moved_base_takes_turns_with_others_on_the_original(trained: Trained) -> None:
    runs = [trained(*KEPT, f"method={name}") for name in ("lora", "pissa")]
    merged = Merged(rebuilt(runs[0]).model)
    merged.switch(adapter_of(runs[1]))
    assert loss_of(runs[1], merged.model) == pytest.approx(recorded_loss(runs[1]), 1e-5)


def test_runs_with_other_bases_share_no_bank(trained: Trained) -> None:
    runs = [trained(*KEPT, "method=lora"), trained(*KEPT, "method=lora", "base.seed=1")]
    with pytest.raises(ConfigError, match=r"has another base than .*\('hidden\.0\.weight' differs"):
        bank_of_runs(runs)


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (["pair=digits_halves", "method=lora"], "'head' trained beside the adapter"),
        ([*KEPT, "method=relora"], "'head' trained beside the adapter"),  # its bias
        ([*KEPT, "method=full"], "trains the model's own weights"),
        ([*KEPT, "method=dora"], "'hidden.0' cannot be switched"),
        (["data=digits", "method=lowrank"], "'hidden.0' cannot be switched"),
    ],
)
def test_what_a_bank_cannot_hold_is_one_line(
    trained: Trained, overrides: list[str], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        adapter_of(trained(*overrides))
