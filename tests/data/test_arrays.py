import subprocess
import sys
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from lowrank_bench.data import digits
from lowrank_bench.data.arrays import Arrays


def test_checksum_depends_on_content_alone(arrays):
    one, same = arrays(), arrays()
    spread = Arrays(np.asfortranarray(one.train_x), one.train_y, one.test_x, one.test_y)
    assert one.checksum == same.checksum == spread.checksum
    assert len(one.checksum) == 16


def test_checksum_sees_one_pixel(arrays):
    one, other = arrays(), arrays()
    other.train_x[5, 0, 1, 1] ^= 1
    assert one.checksum != other.checksum


def test_checksum_sees_the_shape_and_the_missing_test_part(arrays):
    one = arrays(num_test=0)
    x = one.train_x.reshape(100, 1, 9, 1)
    empty = np.empty((0, 1, 3, 3), np.uint8), np.empty(0, np.int64)
    others = [Arrays(x, one.train_y), Arrays(one.train_x, one.train_y, *empty)]
    assert one.checksum not in [other.checksum for other in others]


def test_arrays_cannot_be_replaced(arrays):
    with pytest.raises(FrozenInstanceError):
        arrays().train_x = None


def test_digits_equal_scikit_learns_own_reader():
    from sklearn.datasets import load_digits

    theirs: Any = load_digits()
    ours = digits.read()
    np.testing.assert_array_equal(theirs.images, ours.train_x[:, 0])
    np.testing.assert_array_equal(theirs.target, ours.train_y)
    assert ours.test_x is None


def test_digits_are_read_once():
    assert digits.read() is digits.read()


def test_reading_loads_neither_torch_nor_scikit_learn(write_idx, tmp_path):
    write_idx(tmp_path / "raw")
    code = f"""
import sys
from lowrank_bench.data import digits, idx
digits.read().checksum
idx.read("fashion_mnist", {str(tmp_path)!r}).checksum
print(sorted({{"torch", "torchvision", "lightning", "sklearn"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
