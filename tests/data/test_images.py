import numpy as np
import pytest
import torch

from lowrank_bench.errors import ConfigError


def _places(split):
    """Where in the source the images were: their first pixel."""
    return split.x[:, 0, 0, 0].tolist()


def test_splits_are_disjoint_and_exhaustive(arrays, image_data):
    data = image_data(arrays(num_test=0), val_size=20, test_size=30)
    parts = [_places(part) for part in (data.train, data.val, data.test)]
    assert [len(part) for part in parts] == [50, 20, 30]
    assert sorted(place for part in parts for place in part) == list(range(100))


def test_every_split_keeps_the_sources_order(arrays, image_data):
    data = image_data(arrays(num_test=0), val_size=20, test_size=30)
    for part in (data.train, data.val, data.test):
        assert _places(part) == sorted(_places(part))


def test_labels_stay_with_their_images(arrays, image_data):
    data = image_data(arrays(num_test=0), val_size=20, test_size=30)
    for part in (data.train, data.val, data.test):
        assert part.y.tolist() == [place % 10 for place in _places(part)]


def test_without_held_out_images_the_training_part_is_the_source_itself(arrays, image_data):
    source = arrays()
    data = image_data(source)
    assert data.val is None
    assert np.shares_memory(data.train.x.numpy(), source.train_x)
    assert _places(data.train) == list(range(100))
    assert _places(data.test) == list(range(10))


def test_validation_never_touches_the_official_test_set(arrays, image_data):
    data = image_data(arrays(), val_size=20)
    assert len(data.train) == 80 and len(data.val) == 20
    assert _places(data.test) == list(range(10))


def test_split_depends_on_split_seed_alone(arrays, image_data):
    torch.manual_seed(1)
    np.random.seed(1)
    one = image_data(arrays(), val_size=20)
    torch.manual_seed(2)
    np.random.seed(2)
    same = image_data(arrays(), val_size=20)
    other = image_data(arrays(), val_size=20, split_seed=1)
    assert _places(one.val) == _places(same.val) != _places(other.val)


def test_split_is_pinned(arrays, image_data):
    assert _places(image_data(arrays(), val_size=5).val) == [2, 26, 55, 75, 86]


def test_global_generators_are_untouched(arrays, image_data):
    before, numpys = torch.get_rng_state(), np.random.get_state(legacy=True)
    data = image_data(arrays(), val_size=20)
    data.train.fetch(torch.arange(5))
    assert torch.equal(before, torch.get_rng_state())
    assert str(numpys) == str(np.random.get_state(legacy=True))


def test_validation_size_leaves_the_test_images_as_they_are(arrays, image_data):
    small = image_data(arrays(num_test=0), val_size=5, test_size=30)
    large = image_data(arrays(num_test=0), val_size=20, test_size=30)
    assert _places(small.test) == _places(large.test)
    assert set(_places(small.val)) < set(_places(large.val))


@pytest.mark.parametrize("index", [slice(3, 9), slice(None), torch.tensor([5, 2, 2])])
def test_fetch_equals_the_conversion_by_hand(arrays, image_data, index):
    source = arrays(channels=3)
    plain = image_data(source, scale=16).train
    x, y = plain.fetch(index)
    assert x.dtype == torch.float32
    assert torch.equal(x, torch.from_numpy(source.train_x)[index].float() / 16)
    assert torch.equal(y, torch.from_numpy(source.train_y)[index])

    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    standard, _ = image_data(source, scale=16, mean=mean, std=std).train.fetch(index)
    assert torch.equal(
        standard, (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    )


def test_fetch_leaves_the_images_alone(arrays, image_data):
    source = arrays()
    before = source.train_x.copy()
    image_data(source, mean=[0.5], std=[0.5]).train.fetch(slice(None))
    np.testing.assert_array_equal(before, source.train_x)


def test_trivial_mean_and_std_leave_no_arithmetic(arrays, image_data):
    assert not hasattr(image_data(arrays()).train, "mean")
    assert hasattr(image_data(arrays(), std=[0.5]).train, "mean")


def test_to_moves_every_tensor(arrays, image_data):
    here = image_data(arrays(), mean=[0.5]).train
    there = here.to("meta")
    x, y = there.fetch(torch.arange(4))
    assert x.device.type == y.device.type == "meta"
    assert type(there) is type(here) and len(there) == 100
    assert here.x.device.type == "cpu"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"val_size": -1}, "data.val_size=-1"),
        ({"val_size": 100}, "data.val_size=100"),
        ({"val_size": 0.1}, "data.val_size=0.1"),
        ({"val_size": True}, "data.val_size=True"),
        ({"val_size": None}, "data.val_size=None"),
        ({"test_size": 10}, "data.test_size=10"),
        ({"split_seed": -1}, "data.split_seed=-1"),
        ({"shape": [3, 3, 3]}, "data.shape="),
        ({"num_classes": 9}, "data.num_classes=9"),
        ({"num_classes": 11}, "data.num_classes=11"),
        ({"scale": 0}, "data.scale=0"),
        ({"mean": [0, 0, 0]}, "data.mean="),
        ({"std": [0]}, "data.std="),
    ],
)
def test_declaration_that_does_not_fit_is_named(arrays, image_data, changes, key):
    with pytest.raises(ConfigError) as caught:
        image_data(arrays(), **changes)
    assert str(caught.value).startswith(key) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"test_size": None}, "data.test_size=null"),
        ({"test_size": 100}, "data.test_size=100"),
        ({"test_size": 50, "val_size": 50}, "data.val_size=50"),
    ],
)
def test_sizes_that_leave_nothing_are_named(arrays, image_data, changes, key):
    with pytest.raises(ConfigError) as caught:
        image_data(arrays(num_test=0), **changes)
    assert str(caught.value).startswith(key)


def test_checksum_is_that_of_the_source(arrays, image_data):
    source = arrays()
    assert image_data(source, val_size=20).checksum == source.checksum


@pytest.mark.parametrize("index", [slice(3, 9), slice(None), torch.tensor([5, 2, 2])])
def test_each_image_of_a_part_belongs_to_the_adapter_of_its_place(arrays, image_data, index):
    data = image_data(arrays(num_test=0), val_size=20, test_size=30, adapters=4, mean=[0.5])
    for part in (data.train, data.val, data.test):
        assert torch.equal(part.fetch_ids(index), torch.arange(len(part))[index] % 4)
        assert part.to("meta").fetch_ids(slice(0, 2)).device.type == "meta"
    assert image_data(arrays()).train.fetch_ids(index) is None


@pytest.mark.parametrize("adapters", [0, -1, 2.0, True, 10_000])
def test_a_number_of_adapters_that_cannot_be_is_refused(arrays, image_data, adapters):
    with pytest.raises(ConfigError, match=rf"data\.adapters={adapters}: must be a whole number"):
        image_data(arrays(), adapters=adapters)
