"""From a command line to configs."""

from pathlib import Path

import pytest
from hydra.errors import HydraException

from lowrank_bench.compose import composed, composed_each
from lowrank_bench.errors import ConfigError
from lowrank_bench.plan.grid import grid


def names(*overrides: str, sweep: bool = False) -> list[tuple[str, int]]:
    return [(cfg.method.name, cfg.rank) for cfg in grid(overrides, sweep=sweep)]


def test_a_sweep_is_every_combination_that_would_cost_something_else() -> None:
    swept = names("method=full,lora", "rank=4,8", "seed=0,1", "lr=0.1,0.2", sweep=True)
    assert swept == [("full", 4), ("lora", 4), ("lora", 8)]


def test_one_point_is_what_composing_it_gives() -> None:
    (cfg,) = grid(["method=galore", "rank=3", "data.val_size=7"])
    assert cfg == composed(["method=galore", "rank=3", "data.val_size=7"])


def test_an_experiment_brings_its_own_sweep() -> None:
    found = names("experiment=quick", "rank=16")
    assert ("full", 16) in found and ("galore", 16) in found and len(found) == 8


def test_a_model_of_tokens_gets_tokens_where_no_data_were_chosen() -> None:
    (cfg,) = grid(["model=llama_9m"])
    assert cfg.data.name == "random_tokens"
    (cfg,) = grid(["model=llama_9m", "data=python_docs"])
    assert cfg.data.name == "python_docs"
    with pytest.raises(ConfigError, match="data=digits and model=llama_9m may not go together"):
        grid(["model=llama_9m", "data=digits"])


def test_points_that_share_their_files_are_as_if_composed_alone() -> None:
    points = [
        *(["method=lora", "rank=2"], ["method=lora", "rank=4", "method.adapter.alpha=3"]),
        *(["method=lora", "method/init=pissa", "rank=2"], ["rank=4", "+data.more=1"]),
        ["model.hidden=[3,4]", "~logger"],
    ]
    assert composed_each(points) == [composed(point) for point in points]


def test_a_users_folder_is_looked_into(tmp_path: Path) -> None:
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text("defaults: [lora, _self_]\nname: mine\n")
    (cfg,) = grid(["method=mine", "rank=2"], tmp_path)
    assert cfg.method.name == "mine"


def test_what_cannot_be_composed_raises() -> None:
    with pytest.raises(HydraException):
        grid(["method=nothing"])
    with pytest.raises(ConfigError, match="rank=0: must be a positive whole number"):
        grid(["rank=0"])
