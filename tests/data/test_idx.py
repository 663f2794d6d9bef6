import gzip
import os
import shutil

import numpy as np
import pytest
import torchvision.datasets.mnist

from lowrank_bench.data import folders, idx
from lowrank_bench.errors import ConfigError

INSTALLED = folders.SYSTEM / "fashion-mnist"
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def _error(*arguments):
    with pytest.raises(ConfigError) as caught:
        idx.read(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("place", ["", "raw", "KMNIST/raw"])
def test_files_read_back_as_written(write_idx, tmp_path, gz, place):
    parts = write_idx(tmp_path / place, gz=gz)
    arrays = idx.read("kmnist", str(tmp_path))
    assert arrays.test_x is not None and arrays.test_y is not None
    np.testing.assert_array_equal(arrays.train_x[:, 0], parts[IMAGES])
    np.testing.assert_array_equal(arrays.train_y, parts[LABELS])
    np.testing.assert_array_equal(arrays.test_x[:, 0], parts["t10k-images-idx3-ubyte"])
    np.testing.assert_array_equal(arrays.test_y, parts["t10k-labels-idx1-ubyte"])


def test_checksum_is_that_of_the_content_not_of_the_container(write_idx, tmp_path):
    def change(parts):
        parts[IMAGES][7, 3, 2] ^= 1

    write_idx(tmp_path / "a", gz=True)
    write_idx(tmp_path / "b", gz=False)
    write_idx(tmp_path / "c", change=change)
    a, b, c = (idx.read("mnist", str(tmp_path / folder)).checksum for folder in "abc")
    assert a == b != c


def test_same_folder_is_read_once(write_idx, tmp_path, monkeypatch):
    write_idx(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert idx.read("mnist", str(tmp_path)) is idx.read(name="mnist", root=".")


def test_folder_with_the_sets_own_name_comes_first(write_idx, tmp_path):
    write_idx(tmp_path, seed=1)
    parts = write_idx(tmp_path / "MNIST" / "raw", seed=2)
    found = idx.read("mnist", str(tmp_path)).train_x[:, 0]
    np.testing.assert_array_equal(found, parts[IMAGES])


@pytest.mark.parametrize("spelling", ["fashion-mnist", "fashion_mnist"])
def test_folders_of_the_system_are_searched(write_idx, offline, tmp_path, monkeypatch, spelling):
    monkeypatch.setattr(folders, "SYSTEM", tmp_path)
    write_idx(tmp_path / spelling, gz=True)
    assert len(idx.read("fashion_mnist").train_y) == 20


def test_cache_is_searched(write_idx, offline, tmp_path):
    write_idx(tmp_path / "cache" / "lowrank_bench" / "data" / "MNIST" / "raw")
    assert len(idx.read("mnist").train_y) == 20


def test_missing_files_offline_are_one_line_that_says_what_to_do(offline, tmp_path):
    message = _error("fashion_mnist")
    assert message.startswith("data=fashion_mnist: ")
    for part in (IMAGES, str(tmp_path), "no network", "apt install dataset-fashion-mnist"):
        assert part in message
    assert "data.root=" in _error("mnist")


def test_failed_download_leaves_no_file(offline, tmp_path):
    _error("mnist")
    root = tmp_path / "root"
    root.mkdir()
    _error("mnist", str(root))
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_interrupted_download_leaves_no_file(offline, tmp_path, monkeypatch):
    def stop(_url, download_root, filename, **_options):
        with open(os.path.join(download_root, filename), "wb") as file:
            file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", stop)
    with pytest.raises(KeyboardInterrupt):
        idx.read("mnist", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_download_goes_to_root_and_is_found_again(write_idx, offline, tmp_path, monkeypatch):
    write_idx(tmp_path / "server")
    (tmp_path / "root").mkdir()
    calls = []

    def fetch(_url, download_root, filename, **_options):
        calls.append(filename)
        name = filename.removesuffix(".gz")
        shutil.copy(tmp_path / "server" / name, download_root)

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", fetch)
    arrays = idx.read("mnist", str(tmp_path / "root"))
    assert sorted(os.listdir(tmp_path / "root" / "MNIST" / "raw")) == sorted(idx.FILES)
    assert os.listdir(tmp_path / "root") == ["MNIST"]
    assert idx.read("mnist", str(tmp_path / "root")) is arrays
    assert len(calls) == 4


def test_root_that_does_not_exist_is_named(tmp_path):
    assert _error("mnist", str(tmp_path / "nowhere")).startswith(f"data.root={tmp_path}/nowhere")


def test_unknown_name_gets_a_hint():
    assert "did you mean 'fashion_mnist'" in _error("fashion_mnst")


def _swap_magic(path):
    path.write_bytes(b"\0\0\x0d\3" + path.read_bytes()[4:])


def _cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def _lengthen(path):
    path.write_bytes(path.read_bytes() + b"\0")


def _stop_in_header(path):
    path.write_bytes(path.read_bytes()[:9])


def _empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_swap_magic, _cut, _lengthen, _stop_in_header, _empty])
def test_damaged_file_is_named(write_idx, tmp_path, damage):
    write_idx(tmp_path)
    damage(tmp_path / IMAGES)
    message = _error("mnist", str(tmp_path))
    assert message.startswith(f"{tmp_path / IMAGES}: ") and "replace it" in message


@pytest.mark.parametrize("content", [b"no gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\xff\xff\xff\xff"])
def test_file_that_is_no_gzip_is_named(write_idx, tmp_path, content):
    write_idx(tmp_path, gz=True)
    (tmp_path / f"{LABELS}.gz").write_bytes(content)
    assert _error("mnist", str(tmp_path)).startswith(f"{tmp_path / LABELS}.gz: ")


def test_truncated_gzip_is_named(write_idx, tmp_path):
    write_idx(tmp_path, gz=True)
    _cut(tmp_path / f"{IMAGES}.gz")
    assert _error("mnist", str(tmp_path)).startswith(f"{tmp_path / IMAGES}.gz: ")


def test_unequal_numbers_of_images_and_labels_are_named(write_idx, tmp_path):
    def change(parts):
        parts[LABELS] = parts[LABELS][:-1]

    write_idx(tmp_path, change=change)
    message = _error("mnist", str(tmp_path))
    assert "20 images" in message and "19 labels" in message


def test_test_images_of_another_size_are_refused(write_idx, tmp_path):
    def change(parts):
        parts["t10k-images-idx3-ubyte"] = parts["t10k-images-idx3-ubyte"][:, :3]

    write_idx(tmp_path, change=change)
    assert "differ in size" in _error("mnist", str(tmp_path))


@pytest.mark.skipif(not INSTALLED.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_fashion_mnist_equals_torchvisions_own_reader(tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in idx.FILES:
        (raw / name).write_bytes(gzip.decompress((INSTALLED / f"{name}.gz").read_bytes()))
    arrays = idx.read("fashion_mnist")
    for train, x, y in (
        (True, arrays.train_x, arrays.train_y),
        (False, arrays.test_x, arrays.test_y),
    ):
        theirs = torchvision.datasets.FashionMNIST(str(tmp_path), train=train)
        assert x is not None and np.array_equal(theirs.data.numpy(), x[:, 0])
        np.testing.assert_array_equal(theirs.targets.numpy(), y)
    assert arrays.checksum == idx.read("fashion_mnist", str(tmp_path)).checksum
