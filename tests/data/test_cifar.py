import hashlib
import pickle

import numpy as np
import pytest
from torchvision.datasets import CIFAR10, CIFAR100

from lowrank_bench.data import cifar
from lowrank_bench.errors import ConfigError


@pytest.fixture
def write_cifar(monkeypatch, tmp_path):
    """Small files in torchvision's layout, whose md5 torchvision is told to expect."""

    def write(dataset, key):
        folder = tmp_path / dataset.base_folder
        folder.mkdir()
        pixels = {}

        def put(file, content):
            data = pickle.dumps(content)
            (folder / file).write_bytes(data)
            return hashlib.md5(data).hexdigest()

        for attribute in ("train_list", "test_list"):
            listed = []
            for place, (file, _) in enumerate(getattr(dataset, attribute)):
                rows = np.random.RandomState(place).randint(256, size=(4, 3072)).astype(np.uint8)
                pixels[file] = rows
                listed.append([file, put(file, {"data": rows, key: [0, 1, 2, 3]})])
            monkeypatch.setattr(dataset, attribute, listed)
        meta = dict(dataset.meta)
        meta["md5"] = put(meta["filename"], {meta["key"]: list("abcd")})
        monkeypatch.setattr(dataset, "meta", meta)
        return folder, pixels

    return write


@pytest.mark.parametrize(
    ("name", "dataset", "key"),
    [("cifar10", CIFAR10, "labels"), ("cifar100", CIFAR100, "fine_labels")],
)
def test_images_keep_their_channels_rows_and_order(write_cifar, tmp_path, name, dataset, key):
    _, pixels = write_cifar(dataset, key)
    arrays = cifar.read(name, str(tmp_path))
    train = np.concatenate([pixels[file] for file, _ in dataset.train_list])
    np.testing.assert_array_equal(arrays.train_x.reshape(-1, 3072), train)
    assert arrays.test_x is not None and arrays.test_x.shape == (4, 3, 32, 32)
    np.testing.assert_array_equal(arrays.train_y, np.tile(np.arange(4), len(dataset.train_list)))
    assert cifar.read(name=name, root=str(tmp_path)) is arrays


@pytest.mark.parametrize("file", ["data_batch_3", "batches.meta"])
def test_file_with_another_md5_is_named_and_never_opened(write_cifar, tmp_path, file):
    folder, _ = write_cifar(CIFAR10, "labels")
    opened = tmp_path / "opened"

    class Trap:
        def __reduce__(self):
            return (open, (str(opened), "w"))

    (folder / file).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ConfigError, match=f"{folder / file}: its md5") as caught:
        cifar.read("cifar10", str(tmp_path))
    assert "\n" not in str(caught.value)
    assert not opened.exists()


def test_missing_files_offline_are_one_line_that_says_what_to_do(offline):
    with pytest.raises(ConfigError) as caught:
        cifar.read("cifar100")
    message = str(caught.value)
    assert message.startswith("data=cifar100: ") and "\n" not in message
    for part in ("cifar-100-python/train", "no network", "cifar-100-python.tar.gz", "data.root="):
        assert part in message


def test_root_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.root="):
        cifar.read("cifar10", str(tmp_path / "nowhere"))
