"""Data that mean nothing: the same from the same seed, and of the shape that the config says."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from lowrank_bench.build import build
from lowrank_bench.data.loader import BlockLoader
from lowrank_bench.errors import ConfigError

Config = Callable[..., Any]
SMALL = {"random_tokens": ("data.length=8", "data.vocab_size=20"), "random_images": ()}


def node(composed: Config, name: str, *more: str) -> Any:
    small = ("data.examples=100", "data.val_size=10", "data.test_size=20", *SMALL[name])
    return composed(f"data={name}", *small, *more).data


def made(composed: Config, name: str, *more: str) -> Any:
    return build(node(composed, name, *more), "data")


def whole(part: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return part.fetch(slice(0, len(part)))


@pytest.mark.parametrize("name", SMALL)
def test_the_same_seed_draws_the_same_data(composed: Config, name: str) -> None:
    first, again, other = (made(composed, name, f"data.seed={seed}") for seed in (0, 0, 1))
    for part in ("train", "val", "test"):
        (x, y), (same_x, same_y) = (whole(getattr(each, part)) for each in (first, again))
        assert torch.equal(x, same_x) and torch.equal(y, same_y)
    assert first.checksum == again.checksum != other.checksum
    assert not torch.equal(whole(first.train)[0], whole(other.train)[0])
    assert build(node(composed, name).reader, "data.reader").checksum == first.checksum


@pytest.mark.parametrize("name", SMALL)
def test_the_parts_have_their_sizes_and_no_example_twice(composed: Config, name: str) -> None:
    data = made(composed, name)
    parts = (data.train, data.val, data.test)
    assert [len(part) for part in parts] == [70, 10, 20]
    rows = torch.cat([whole(part)[0].flatten(1).double() for part in parts])
    assert len(rows.unique(dim=0)) == 100


def test_each_token_but_the_first_is_predicted(composed: Config) -> None:
    data = made(composed, "random_tokens")
    x, y = whole(data.train)
    assert x.shape == y.shape == (70, 8) and x.dtype == y.dtype == torch.int64
    assert torch.equal(x[:, 1:], y[:, :-1])
    assert (x.min(), x.max()) == (0, 19)
    assert data.train.count(slice(0, 4)) == 32


def test_one_who_knows_nothing_needs_eight_bits_a_byte(composed: Config) -> None:
    data = made(composed, "random_tokens")
    _, y = whole(data.val)
    sums = data.objective.sums(torch.zeros(*y.shape, 20), y)
    metrics = data.objective.metrics(sums)
    assert metrics["loss"] == pytest.approx(math.log(20))
    assert metrics["bits_per_byte"] == pytest.approx(8)


def test_sequences_may_have_labels(composed: Config) -> None:
    data = made(composed, "random_tokens", "data.num_classes=3")
    x, y = whole(data.test)
    assert x.shape == (20, 8) and y.shape == (20,)
    assert set(whole(data.train)[1].tolist()) == {0, 1, 2}
    assert data.objective.num_classes == 3
    assert torch.equal(x, whole(made(composed, "random_tokens").test)[0])


def test_images_have_the_shape_that_was_said(composed: Config) -> None:
    data = made(composed, "random_images", "data.shape=[1,12,10]", "data.num_classes=7")
    x, y = whole(data.train)
    assert x.shape == (70, 1, 12, 10) and x.dtype == torch.float32
    assert x.min() >= 0 and x.max() <= 1 and float(x.mean()) == pytest.approx(0.5, abs=0.02)
    assert set(y.tolist()) == set(range(7))


@pytest.mark.parametrize("name", SMALL)
def test_examples_may_belong_to_adapters(composed: Config, name: str) -> None:
    data = made(composed, name, "data.adapters=4")
    assert next(iter(BlockLoader(data.train, batch_size=6)))[-1].tolist() == [0, 1, 2, 3, 0, 1]


@pytest.mark.parametrize("name", SMALL)
def test_nothing_need_be_held_out(composed: Config, name: str) -> None:
    data = made(composed, name, "data.val_size=0", "data.test_size=0")
    assert len(data.train) == 100 and data.val is None and data.test is None


@pytest.mark.parametrize(
    ("name", "override", "line"),
    [
        ("random_tokens", "data.vocab_size=1", "data.vocab_size=1: must be a whole number"),
        ("random_tokens", "data.length=0", "data.length=0: must be a whole number of at least 1"),
        ("random_tokens", "data.length=1.5", "data.length=1.5: must be"),
        ("random_tokens", "data.num_classes=1", "data.num_classes=1: must be"),
        ("random_tokens", "data.val_size=90", "data.val_size=90: with data.test_size=20 nothing"),
        ("random_tokens", "data.adapters=99", "data.adapters=99: must be"),
        ("random_images", "data.shape=[3,8]", "data.shape=[3, 8]: must be three positive"),
        ("random_images", "data.shape=[3,0,8]", "data.shape=[3, 0, 8]: must be three positive"),
        ("random_images", "data.num_classes=101", "data.examples=100: must be a whole number of"),
        ("random_images", "data.val_size=80", "data.val_size=80: with data.test_size=20 nothing"),
    ],
)
def test_a_number_that_cannot_be_is_refused(
    composed: Config, name: str, override: str, line: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        made(composed, name, override)
    assert str(refused.value).startswith(line)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("seed", [-1, 2**32, "x"])
def test_a_seed_that_numpy_does_not_take_is_refused(composed: Config, name: str, seed: Any) -> None:
    given = node(composed, name)
    given.seed = seed
    with pytest.raises(ConfigError, match=rf"^data\.seed={seed}: must be a whole number"):
        build(given, "data")
