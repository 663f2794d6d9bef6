import gzip
from urllib.error import URLError

import numpy as np
import pytest
import torchvision.datasets.cifar
import torchvision.datasets.mnist

from lowrank_bench.data import folders
from lowrank_bench.data.arrays import Arrays
from lowrank_bench.data.images import ImageData


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, no folders of the system, an empty cache."""

    def fail(*_args, **_options):
        raise URLError("no\nnetwork")

    for module in (torchvision.datasets.mnist, torchvision.datasets.cifar):
        monkeypatch.setattr(module, "download_and_extract_archive", fail)
    monkeypatch.setattr(folders, "SYSTEM", tmp_path / "nothing_installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def _idx(array):
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    return header + array.tobytes()


@pytest.fixture
def write_idx():
    """Write (n, h, w) images and (n,) labels as four idx files; 20 to train, 10 to test."""

    def write(folder, *, gz=False, seed=0, change=None):
        numbers = np.random.RandomState(seed)
        parts = {}
        for part, count in (("train", 20), ("t10k", 10)):
            parts[f"{part}-images-idx3-ubyte"] = numbers.randint(256, size=(count, 4, 5))
            parts[f"{part}-labels-idx1-ubyte"] = np.arange(count) % 10
        if change:
            change(parts)
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in parts.items():
            content = _idx(array.astype(np.uint8))
            path = folder / (f"{name}.gz" if gz else name)
            path.write_bytes(gzip.compress(content) if gz else content)
        return parts

    return write


@pytest.fixture
def arrays():
    """Images whose first pixel is their place in the source."""

    def make(count=100, num_test=10, channels=1):
        def images(n):
            x = np.random.RandomState(n).randint(256, size=(n, channels, 3, 3)).astype(np.uint8)
            x[:, 0, 0, 0] = np.arange(n)
            return x, np.arange(n, dtype=np.int64) % 10

        return Arrays(*images(count), *(images(num_test) if num_test else ()))

    return make


@pytest.fixture
def image_data():
    def make(reader, **changes):
        options = {
            "name": "toy",
            "reader": reader,
            "shape": reader.train_x.shape[1:],
            "num_classes": 10,
            "scale": 255,
            "mean": [0] * reader.train_x.shape[1],
            "std": [1] * reader.train_x.shape[1],
            "val_size": 0,
            "test_size": None,
            "split_seed": 0,
        }
        return ImageData(**(options | changes))

    return make


@pytest.fixture
def tokenizer_folder(tmp_path):
    """A tokenizer of Hugging Face: words, one of which ends a text; a start for classifiers."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {"<unk>": 0, "<end>": 1, "the": 2, "cat": 3, "sat": 4, "<start>": 5}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A", special_tokens=[("<start>", 5)]
    )
    folder = tmp_path / "tokenizer"
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unk>", bos_token="<start>"
    ).save_pretrained(folder)
    return folder
