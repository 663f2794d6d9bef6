import json
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from lowrank_bench.build import build
from lowrank_bench.data import folders
from lowrank_bench.data.images import ImageData

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "data").glob("*.yaml"))
IMAGES = [path for path in CONFIGS if "ImageData" in path.read_text()]
DRAWN = ("random_tokens", "random_images")  # test_random_data.py
YOUR_OWN = ("text", "hf_text", "instructions", "text_classification")  # they must be told a path
INSTALLED = folders.SYSTEM / "fashion-mnist"
HAS_FASHION = pytest.mark.skipif(not INSTALLED.is_dir(), reason="not installed")


def _load(path):
    return OmegaConf.create({"data": OmegaConf.load(path)})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_resolves_and_says_what_it_is(path):
    assert path.read_text().startswith("# ")
    config = _load(path)
    if path.stem in YOUR_OWN:
        assert OmegaConf.is_missing(config.data, "path")
        config.data.update({"path": "/somewhere", "num_classes": 2})
    config = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(config, dict)
    data = config["data"]
    assert data["name"] == path.stem
    assert data["reader"].get("path", "/somewhere") == "/somewhere"
    if "name" in data["reader"]:
        assert data["reader"]["name"] == path.stem


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.stem)
def test_images_have_a_mean_and_a_std_a_channel(path):
    data = _load(path).data
    assert len(data.mean) == len(data.std) == data.shape[0]


@pytest.mark.parametrize(
    "path",
    [path for path in CONFIGS if path not in IMAGES and path.stem not in DRAWN],
    ids=lambda path: path.stem,
)
def test_text_says_what_a_model_of_it_interpolates(path):
    data = _load(path).data
    assert data.vocab_size == 257 and data.tokenizer == "bytes"
    assert data.cache is None and data.adapters is None
    if path.stem == "text_classification":
        assert OmegaConf.is_missing(data, "num_classes")
    else:
        assert data.num_classes is None


def test_root_reaches_the_reader():
    config = _load(next(path for path in CONFIGS if path.stem == "mnist"))
    config.data.root = "/somewhere"
    assert config.data.reader.root == "/somewhere"


@pytest.mark.parametrize("name", ["digits", pytest.param("fashion_mnist", marks=HAS_FASHION)])
def test_config_builds_where_its_data_is_on_the_machine(name):
    config = _load(next(path for path in CONFIGS if path.stem == name))
    data = instantiate(config.data)
    assert isinstance(data, ImageData)
    assert data.train is not None and data.val is not None and data.test is not None
    assert len(data.val) == config.data.val_size
    x, y = data.train.fetch(slice(0, 128))
    assert x.shape == (128, *config.data.shape)
    assert x.min() >= 0 and x.max() == 1
    assert set(y.tolist()) == set(range(config.data.num_classes))


FILES = {
    "text.jsonl": [{"text": "a text that is long enough for a test", "n": i} for i in range(20)],
    "instructions.jsonl": [{"prompt": f"p{i}", "response": "answer"} for i in range(20)],
    "text_classification.jsonl": [{"text": f"t{i}", "label": i % 2} for i in range(20)],
}


@pytest.mark.parametrize("name", ["python_docs", *YOUR_OWN])
def test_text_builds_from_its_config_and_a_path(name, tmp_path):
    config = _load(next(path for path in CONFIGS if path.stem == name)).data
    config.cache, config.length = str(tmp_path / "cache"), 16
    if name in YOUR_OWN:
        kind = "text" if name == "hf_text" else name
        folder = tmp_path / "folder"
        folder.mkdir()
        rows = FILES[f"{kind}.jsonl"]
        (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
        config.path = str(folder)
        if name == "text_classification":
            config.num_classes = 2
    checksum = build(config.reader, "data.reader").checksum  # as the parent of runs asks
    data = build(config, "data")
    assert data.checksum == checksum is not None
    assert data.name == name
    for part in (data.train, data.val, data.test):
        x, y = part.fetch(slice(0, 4))
        assert x.shape[1] == 16 and len(x) == len(y) > 0
        assert part.count(slice(0, 4)) == data.objective.count(y)
