"""A sweep composes each point of its grid once."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from hydra_plugins.lowrank_bench_sweeper import Composed


class Loader:
    name = "hydra's own"

    def __init__(self) -> None:
        self.composed: list[list[str]] = []

    def load_sweep_config(self, master: DictConfig, overrides: list[str]) -> DictConfig:
        self.composed.append(overrides)
        return OmegaConf.create({"by": "loader"})


def test_a_point_that_was_checked_is_launched_as_it_was_checked() -> None:
    loader: Any = Loader()
    checked, master = OmegaConf.create({"by": "check"}), OmegaConf.create()
    ready = Composed(loader, {("seed=0",): checked})
    assert ready.load_sweep_config(master, ["seed=0"]) is checked
    assert loader.composed == []


def test_any_other_point_and_a_second_launch_are_composed_anew() -> None:
    loader: Any = Loader()
    ready = Composed(loader, {("seed=0",): OmegaConf.create()})
    master = OmegaConf.create()
    assert ready.load_sweep_config(master, ["seed=1"]).by == "loader"
    ready.load_sweep_config(master, ["seed=0"])
    ready.load_sweep_config(master, ["seed=0"])  # a launcher may change what it is given
    assert loader.composed == [["seed=1"], ["seed=0"]]
    assert ready.name == "hydra's own"
