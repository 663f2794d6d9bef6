from dataclasses import replace

import numpy as np
import pytest

from lowrank_bench.data.altered import altered
from lowrank_bench.errors import ConfigError

PLAIN = {"classes": None, "quarter_turns": 0, "permutation_seed": None}


def change(arrays, **changes):
    return altered(arrays, **(PLAIN | changes))


def test_nothing_asked_for_is_the_very_same(arrays):
    plain = arrays()
    assert change(plain) is plain


@pytest.mark.parametrize("num_test", [0, 10])
def test_some_classes_are_numbered_anew_in_their_order(arrays, num_test):
    plain = arrays(100, num_test)
    some = change(plain, classes=[7, 2])
    assert some.train_y.tolist() == [0 if y == 7 else 1 for y in plain.train_y if y in (7, 2)]
    assert np.array_equal(some.train_x, plain.train_x[np.isin(plain.train_y, [7, 2])])
    assert some.train_y.dtype == np.int64
    if num_test:
        assert some.test_y is not None and plain.test_x is not None and some.test_x is not None
        assert some.test_y.tolist() == [1, 0]  # images 2 and 7 of ten
        assert np.array_equal(some.test_x, plain.test_x[[2, 7]])
    else:
        assert some.test_x is None


def test_two_halves_share_no_image(arrays):
    plain = arrays()
    low, high = (change(plain, classes=some) for some in ([0, 1, 2, 3, 4], [5, 6, 7, 8, 9]))
    images = [{x.tobytes() for x in half.train_x} for half in (low, high)]
    assert not images[0] & images[1]
    assert len(images[0]) + len(images[1]) == 100
    assert set(low.train_y) == set(high.train_y) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_images_are_turned_counter_clockwise(arrays, turns):
    plain = arrays(channels=3)
    turned = change(plain, quarter_turns=turns)
    for part in ("train_x", "test_x"):
        for one, other in zip(getattr(plain, part), getattr(turned, part), strict=True):
            assert np.array_equal(np.stack([np.rot90(c, turns) for c in one]), other)
    assert np.array_equal(turned.train_y, plain.train_y)
    assert turned.train_x.flags["C_CONTIGUOUS"]


def test_an_oblong_image_lies_down_when_it_is_turned(arrays):
    plain = arrays(num_test=0)
    oblong = replace(plain, train_x=np.ascontiguousarray(plain.train_x[..., :2]))
    assert change(oblong, quarter_turns=1).train_x.shape[1:] == (1, 2, 3)


def test_all_images_have_their_pixels_in_one_order(arrays):
    plain = arrays(channels=2)
    mixed = change(plain, permutation_seed=3)
    order = np.random.default_rng(3).permutation(9)
    assert sorted(order) == list(range(9)) != list(order)
    for part in ("train_x", "test_x"):
        for one, other in zip(getattr(plain, part), getattr(mixed, part), strict=True):
            for channel, other_channel in zip(one, other, strict=True):
                assert np.array_equal(channel.flatten()[order], other_channel.flatten())


def test_a_seed_is_an_order(arrays):
    plain = arrays()
    one, same, other = (change(plain, permutation_seed=seed).train_x for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_an_image_is_turned_before_its_pixels_are_mixed(arrays):
    plain = arrays()
    both = change(plain, quarter_turns=1, permutation_seed=0)
    after = change(change(plain, quarter_turns=1), permutation_seed=0)
    assert np.array_equal(both.train_x, after.train_x)


def test_the_source_is_left_as_it_was(arrays):
    plain = arrays()
    before = plain.train_x.copy(), plain.train_y.copy()
    change(plain, classes=[3, 1], quarter_turns=1, permutation_seed=0)
    assert np.array_equal(plain.train_x, before[0])
    assert np.array_equal(plain.train_y, before[1])


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"classes": [1]}, r"^data\.classes=\[1\]: must be a list of two or more different ones"),
        ({"classes": [1, 1]}, r"^data\.classes=\[1, 1\]: .* different ones of \[0, 1, 2"),
        ({"classes": [1, 10]}, r"^data\.classes=\[1, 10\]: "),
        ({"classes": [1, -1]}, r"^data\.classes=\[1, -1\]: "),
        ({"classes": 5}, r"^data\.classes=5: must be a list"),
        ({"classes": "12"}, r"^data\.classes=12: must be a list"),
        ({"quarter_turns": 4}, r"^data\.quarter_turns=4: must be 0, 1, 2 or 3"),
        ({"quarter_turns": True}, r"^data\.quarter_turns=True: "),
        ({"permutation_seed": -1}, r"^data\.permutation_seed=-1: must be 0 or more"),
        ({"permutation_seed": True}, r"^data\.permutation_seed=True: "),
        ({"permutation_seed": 1.5}, r"^data\.permutation_seed=1\.5: "),
    ],
)
def test_what_is_not_there_is_refused(arrays, changes, line):
    with pytest.raises(ConfigError, match=line):
        change(arrays(), **changes)


def test_the_data_know_what_they_were_read_from(arrays, image_data):
    plain, half = (image_data(arrays(), **changes) for changes in ({}, HALF))
    assert plain.checksum == half.checksum  # of the files; what is made of them the config says
    assert half.objective.num_classes == 5
    assert (len(plain.train), len(half.train)) == (100, 50)


def test_classes_that_the_declaration_does_not_count_are_refused(arrays, image_data):
    with pytest.raises(ConfigError, match=r"^data\.num_classes=10: the labels of toy are 0 to 4$"):
        image_data(arrays(), **(HALF | {"num_classes": 10}))


HALF = {"classes": [5, 6, 7, 8, 9], "num_classes": 5}
