"""What a run says of what adaptation did to its base."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lowrank_bench.callbacks.changes import Changes, summary
from lowrank_bench.callbacks.features import ROWS, evenly, features_of, last_linear
from lowrank_bench.head import Head
from lowrank_bench.layers.flora import FLoRABank
from lowrank_bench.prepare import prepare
from lowrank_bench.spectra import weight_change

HALVES = (
    *("data=digits", "base=pretrained_here", "data@base.source=digits"),
    *("data.classes=[5,6,7,8,9]", "data.num_classes=5", "data.val_size=90"),
    *("base.source.classes=[0,1,2,3,4]", "base.source.num_classes=5"),
    *("model.hidden=[32,32]", "logger=local", "epochs=2", "rank=2"),
)
Composed = Callable[..., Any]


@dataclass
class Tokens:
    """Sequences that count up, the last two places of each odd one being padding."""

    x: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def fetch(self, index: slice | Tensor) -> tuple[Tensor, Tensor]:
        return self.x[index], self.x[index]

    def count(self, index: slice | Tensor) -> int:
        return self.x[index].numel()

    def fetch_ids(self, index: slice | Tensor) -> Tensor | None:
        return None


class Net(nn.Module):
    """Tokens to logits through one hidden layer, with dropout that must not be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 7)  # before `body` in the order of names
        self.body = nn.Sequential(nn.Embedding(20, 4), nn.Linear(4, 3), nn.Dropout(0.9))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x.clamp(min=0)))


def tokens(sequences: int, length: int) -> Tokens:
    x = torch.arange(sequences * length).reshape(sequences, length) % 20
    x[1::2, -2:] = -1
    return Tokens(x)


@pytest.fixture
def ran(composed: Composed, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Train a base and a run on it in this process; return the run's record."""
    from omegaconf import OmegaConf

    from lowrank_bench.job import Job
    from lowrank_bench.record import LAST
    from lowrank_bench.run import run

    def train(*overrides: str, resume: bool = False) -> dict[str, Any]:
        cfg = composed(*HALVES, f"run.dir={tmp_path}", *overrides)
        job = Job(
            OmegaConf.create({**cfg, "hydra": {"runtime": {"choices": {"model": "mlp"}}}}), []
        )
        assert job.base is not None
        folders = [tmp_path / "base", tmp_path / f"run-{len(overrides)}"]
        for each, folder in zip((job.base, job), folders, strict=True):
            if not (folder / LAST).exists() or (resume and each is job):
                folder.mkdir(exist_ok=True)
                base = None if each is job.base else folders[0] / LAST
                each_cfg = each.cfg
                assert not run(each_cfg, each.new_record(), folder, print, alone=False, base=base)
        return json.loads((folders[1] / "record.json").read_text())

    return train


def test_a_run_says_what_its_method_did_to_the_base(ran: Callable[..., dict[str, Any]]) -> None:
    change = ran("method=lora", "lr=0.01")["change"]
    assert list(change["weights"]) == ["hidden.0", "hidden.1", "head"]
    assert [change["weights"][f"hidden.{i}"]["rank"] for i in range(2)] == [2, 2]
    assert change["weights"]["head"]["full_rank"] == 5
    for side in ("target", "source"):
        assert 0 < change["features"][side] < 0.999
    hidden = [change["weights"][f"hidden.{i}"] for i in range(2)]
    assert change["summary"] == summary(hidden)  # the head began afresh, and is no method's
    assert change["seconds"] > 0


def test_the_change_is_that_of_the_weights_in_the_checkpoints(
    ran: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    change = ran("method=full", "lr=0.01")["change"]
    states = [
        torch.load(tmp_path / folder / "last.ckpt", weights_only=True)["state_dict"]
        for folder in ("base", "run-2")
    ]
    before, after = (state["model.hidden.1.weight"] for state in states)
    assert change["weights"]["hidden.1"] == pytest.approx(weight_change(after, before))


def test_a_method_that_moves_no_weight_has_no_spectrum_but_moves_features(
    ran: Callable[..., dict[str, Any]],
) -> None:
    change = ran("method=bitfit", "lr=0.01")["change"]
    assert change["weights"]["hidden.0"]["relative_norm"] == 0
    assert change["summary"] == {
        "norm": 0,
        "relative_norm": 0,
        **dict.fromkeys(("rank", "stable_rank", "effective_rank", "components_90")),
    }
    assert change["features"]["target"] < 1


@pytest.mark.parametrize("method", ["lora", "oft"])
def test_a_run_taken_up_at_its_end_says_the_same(
    ran: Callable[..., dict[str, Any]], method: str
) -> None:
    first = ran(f"method={method}")["change"]
    again = ran(f"method={method}", resume=True)["change"]
    assert first | {"seconds": 0} == again | {"seconds": 0}


def test_looking_changes_nothing_of_what_is_trained(composed: Composed) -> None:
    cfg = composed(*HALVES, "method=lora")
    changes = Changes("head", ruled=Head.of(cfg.model, cfg.base))
    plain, looked = prepare(cfg).model, prepare(cfg, None, changes.meet_base).model
    drawn = torch.rand(3)  # prepare seeds the generator
    prepare(cfg)
    assert torch.equal(drawn, torch.rand(3))
    for one, other in zip(plain.parameters(), looked.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_head_that_is_the_methods_business_counts(composed: Composed) -> None:
    kept = composed(*HALVES, "base.head=kept")
    assert Head.of(kept.model, kept.base) is None


def test_features_are_what_the_head_is_given() -> None:
    net, part = Net(), tokens(6, 5)
    found = features_of(net, part, "head")
    expected = net.eval().body(part.x.clamp(min=0))[part.x >= 0]
    torch.testing.assert_close(found, expected.detach())
    assert len(found) == 6 * 5 - 3 * 2  # padding is no example


def test_without_a_head_features_are_the_outputs() -> None:
    net, part = Net(), tokens(4, 5)
    assert features_of(net, part, None).shape == (4 * 5 - 2 * 2, 7)


def test_long_texts_give_as_many_sequences_as_are_needed() -> None:
    net, part = Net(), tokens(300, 50)
    fetched: list[int] = []
    fetch = part.fetch
    part.fetch = lambda index: fetched.append(len(part.x[index])) or fetch(index)
    found = features_of(net, part, "head")
    assert sum(fetched) == 1 + ROWS // 50  # one to look at
    assert found.shape[1] == 3 and ROWS - 100 < len(found) <= ROWS


def test_looking_leaves_modes_gradients_and_generators() -> None:
    net, part = Net(), tokens(6, 5)
    net.body[1].eval()
    net.head.weight.grad = torch.ones(7, 3)
    modes = [module.training for module in net.modules()]
    state = torch.get_rng_state()
    features_of(net, part, "head")
    assert last_linear(net, part) == "head"
    assert [module.training for module in net.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(net.head.weight.grad, torch.ones(7, 3))
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_modes_and_hooks_come_back_after_an_error() -> None:
    net, part = Net(), tokens(6, 5)
    part.x[3, 0] = 99  # no such token
    with pytest.raises(IndexError):
        features_of(net, part, "head")
    assert net.training and not net.head._forward_pre_hooks


def test_a_compiled_network_is_looked_at_as_it_is() -> None:
    net, part = Net(), tokens(6, 5)

    def never(*_: Any) -> Iterator[None]:
        raise AssertionError("compiled code was called")

    net._compiled_call_impl = never
    assert len(features_of(net, part, "head")) == 24


def test_examples_go_to_their_own_adapters(composed: Composed) -> None:
    cfg = composed(
        *("method=flora", "data.adapters=2", "method.adapter.num_adapters=2"),
        *("model.hidden=[8]", "rank=2"),
    )
    data, model, *_ = prepare(cfg)
    bank = model.get_submodule("hidden.0")
    assert isinstance(bank, FLoRABank) and data.val is not None
    with torch.no_grad():
        for parameter in bank.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape))
    found = features_of(model, data.val, "head")
    index = evenly(len(data.val), 1000)
    x, _ = data.val.fetch(index)
    bank.ids = data.val.fetch_ids(index)
    with torch.no_grad():
        torch.testing.assert_close(found, torch.relu(bank(x.flatten(1))))
        bank.ids = None
        assert not torch.allclose(found, torch.relu(bank(x.flatten(1))))
    features_of(model, data.val, "head")
    assert bank.ids is None


def test_the_summary_takes_all_layers_as_one() -> None:
    moved = {"rank": 2, "stable_rank": 1.5, "effective_rank": 1.8, "components_90": 2}
    layers = [
        {"norm": 3.0, "start_norm": 6.0, **moved},
        {"norm": 4.0, "start_norm": 8.0, **moved, "rank": 4},
        {"norm": 0.0, "start_norm": 0.0, **dict.fromkeys(moved), "rank": 0},
    ]
    found = summary(layers)
    assert (found["norm"], found["relative_norm"], found["rank"]) == (5, 0.5, 3)
    assert summary([])["relative_norm"] is None


def test_even_places_never_repeat_and_span_the_whole() -> None:
    assert evenly(5, 10).tolist() == [0, 1, 2, 3, 4]
    assert evenly(10, 4).tolist() == [0, 2, 5, 7]
    assert evenly(0, 4).tolist() == []
