"""Every ready pair of a source and a target can be composed and built."""

import numpy as np
import pytest

from lowrank_bench.base import base_config
from lowrank_bench.config_dir import config_dir
from lowrank_bench.prepare import prepare

PAIRS = sorted(path.stem for path in (config_dir() / "pair").glob("*.yaml"))


@pytest.fixture
def files(write_idx, tmp_path):
    """Overrides that have both data sets of a pair read from images made up here."""

    def images(parts):
        numbers = np.random.RandomState(0)
        for part, count in (("train", 60), ("t10k", 20)):
            parts[f"{part}-images-idx3-ubyte"] = numbers.randint(256, size=(count, 28, 28))
            parts[f"{part}-labels-idx1-ubyte"] = np.arange(count) % 10

    write_idx(tmp_path / "idx", change=images)
    nodes = ("data", "base.source")
    return [
        *(f"{node}.root={tmp_path}/idx" for node in nodes),
        *(f"{node}.val_size=10" for node in nodes),
    ]


@pytest.mark.parametrize("pair", PAIRS)
def test_a_pair_is_two_tasks_on_one_model(composed, files, pair):
    read = [] if "digits" in pair else files
    cfg = composed(f"pair={pair}", "method=lora", "model.hidden=[16,16]", *read)
    base = base_config(cfg)
    assert base is not None and prepare(base).source is None
    data, _, method, source, _ = prepare(cfg)
    assert source is not None
    assert data.name == cfg.data.name
    (target, answers), (asked, known) = (
        part.fetch(slice(None)) for part in (data.train, source.data.train)
    )
    assert target.shape[1:] == asked.shape[1:]
    other_files = data.name != source.data.name  # the same here, made up once
    assert other_files or not np.array_equal(target[:9], asked[:9])
    is_kept = cfg.base.head == "kept"
    assert ("head" in method.targets) is is_kept
    assert (source.head is None) is is_kept
    data.objective.check_outputs(len(answers.unique()))
    source.objective.check_outputs(len(known.unique()))
    assert data.test is not None and source.data.test is not None
