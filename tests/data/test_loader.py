import pytest
import torch
from torch import Tensor

from lowrank_bench.data.images import TensorSplit
from lowrank_bench.data.loader import BlockLoader, eval_batch_size
from lowrank_bench.objectives.classification import Classification

COUNT = 103  # 13 batches of 8, the last of 7


@pytest.fixture
def images() -> TensorSplit:
    """Each image's label is its place."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (COUNT, 1, 3, 3), dtype=torch.uint8, generator=generator)
    return TensorSplit(x, torch.arange(COUNT), scale=255)


def batches(loader: BlockLoader) -> list[tuple[Tensor, Tensor]]:
    found = []
    for x, y, size in loader:
        found += zip(x.split(size), y.split(size), strict=True)
    return found


def order(loader: BlockLoader, epoch: int = 0) -> list[int]:
    loader.epoch = epoch
    return torch.cat([y for _, y in batches(loader)]).tolist()


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("block", [2, 4, 13, 16])
def test_blocks_hold_the_bits_of_single_batches(
    images: TensorSplit, block: int, shuffle: bool
) -> None:
    options = {"batch_size": 8, "shuffle": shuffle, "seed": 3}
    single = batches(BlockLoader(images, **options))
    blocked = batches(BlockLoader(images, block=block, **options))
    assert len(single) == len(blocked) == 13
    for (x, y), (x_too, y_too) in zip(single, blocked, strict=True):
        assert torch.equal(x, x_too)
        assert torch.equal(y, y_too)


@pytest.mark.parametrize(("block", "num_blocks"), [(1, 13), (4, 4), (13, 1), (16, 1)])
def test_the_ragged_end_is_a_batch_like_any_other(
    images: TensorSplit, block: int, num_blocks: int
) -> None:
    loader = BlockLoader(images, batch_size=8, block=block)
    assert loader.num_batches == 13
    assert len(loader) == len(list(loader)) == num_blocks
    assert [len(y) for _, y in batches(loader)] == [8] * 12 + [7]


def test_a_block_of_nothing_but_a_ragged_batch_says_its_size(images: TensorSplit) -> None:
    *_, (_, y, size) = BlockLoader(images, batch_size=8, block=4)
    assert (len(y), size) == (7, 7)


def test_a_split_smaller_than_a_batch_is_one_batch(images: TensorSplit) -> None:
    loader = BlockLoader(images, batch_size=1000, block=16)
    assert loader.num_batches == len(loader) == 1
    [(_, y, size)] = loader
    assert (len(y), size) == (COUNT, COUNT)


def test_images_come_scaled_and_with_their_own_labels(images: TensorSplit) -> None:
    for x, y in batches(BlockLoader(images, batch_size=8, block=3, shuffle=True)):
        assert torch.equal(x, images.x[y].float() / 255)


def test_every_image_comes_once_an_epoch(images: TensorSplit) -> None:
    found = order(BlockLoader(images, batch_size=8, block=4, shuffle=True))
    assert sorted(found) == list(range(COUNT))


def test_without_shuffling_the_order_is_the_files(images: TensorSplit) -> None:
    loader = BlockLoader(images, batch_size=8, block=4, shuffle=False)
    assert order(loader, epoch=0) == order(loader, epoch=1) == list(range(COUNT))


def test_the_order_depends_on_the_seed_and_the_epoch(images: TensorSplit) -> None:
    loaders = [BlockLoader(images, batch_size=8, shuffle=True, seed=seed) for seed in (0, 1)]
    orders = {tuple(order(loader, epoch)) for loader in loaders for epoch in (0, 1, 2)}
    assert len(orders) == 6


def test_the_order_depends_on_nothing_else(images: TensorSplit) -> None:
    loader = BlockLoader(images, batch_size=8, shuffle=True, seed=5)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = order(loader, epoch=2)
    assert torch.equal(torch.get_rng_state(), before)
    order(loader, epoch=0)
    torch.manual_seed(2)
    again = BlockLoader(images, batch_size=32, block=2, shuffle=True, seed=5)
    assert order(loader, epoch=2) == order(again, epoch=2) == first


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("world_size", [2, 3])
def test_the_devices_share_out_every_global_batch(
    images: TensorSplit, world_size: int, shuffle: bool
) -> None:
    options = {"batch_size": 8, "shuffle": shuffle, "seed": 3}
    whole = batches(BlockLoader(images, **options))
    shares = [
        list(BlockLoader(images, rank=rank, world_size=world_size, **options))
        for rank in range(world_size)
    ]
    assert [len(share) for share in shares] == [13] * world_size
    for (_, y), *parts in zip(whole, *shares, strict=True):
        assert sorted(torch.cat([part for _, part, _ in parts]).tolist()) == sorted(y.tolist())
        assert {size for _, _, size in parts} == {len(y)}  # of the batch over all devices
        lengths = [len(part) for _, part, _ in parts]
        assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("shuffle", [True, False])
def test_adapter_ids_come_with_their_own_images(images: TensorSplit, shuffle: bool) -> None:
    with_ids = TensorSplit(images.x, images.y, scale=255, ids=torch.arange(COUNT) % 4)
    for block in BlockLoader(with_ids, batch_size=8, block=3, shuffle=shuffle):
        assert len(block) == 4
        _, y, _, ids = block
        assert torch.equal(ids, y % 4)  # a label is a place
    shares = [
        list(BlockLoader(with_ids, batch_size=8, shuffle=shuffle, rank=rank, world_size=2))
        for rank in (0, 1)
    ]
    for _, y, _, ids in shares[0] + shares[1]:
        assert torch.equal(ids, y % 4)


def test_without_adapters_a_block_has_no_ids(images: TensorSplit) -> None:
    assert {len(block) for block in BlockLoader(images, batch_size=8)} == {3}


@pytest.mark.parametrize(("logits", "expected"), [(10, 2000), (2**20, 16), (2**25, 1)])
def test_an_evaluation_takes_as_many_examples_as_their_logits_leave_room_for(
    logits: int, expected: int
) -> None:
    part = TensorSplit(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.arange(3), 255)
    objective = Classification("wide", logits)
    assert eval_batch_size("auto", part, objective) == expected
    assert eval_batch_size(7, part, objective) == 7
