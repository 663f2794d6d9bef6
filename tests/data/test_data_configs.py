from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from lowrank_bench.data import folders
from lowrank_bench.data.images import ImageData

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "data").glob("*.yaml"))
INSTALLED = folders.SYSTEM / "fashion-mnist"
HAS_FASHION = pytest.mark.skipif(not INSTALLED.is_dir(), reason="not installed")


def _load(path):
    return OmegaConf.create({"data": OmegaConf.load(path)})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_resolves_and_says_what_it_is(path):
    assert path.read_text().startswith("# ")
    config = OmegaConf.to_container(_load(path), resolve=True, throw_on_missing=True)
    assert isinstance(config, dict)
    data = config["data"]
    assert data["name"] == path.stem
    assert len(data["mean"]) == len(data["std"]) == data["shape"][0]
    if "name" in data["reader"]:
        assert data["reader"]["name"] == path.stem


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
