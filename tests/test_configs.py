from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from omegaconf import DictConfig

from lowrank_bench.checks import check
from lowrank_bench.config_dir import config_dir
from lowrank_bench.data.loader import BlockLoader
from lowrank_bench.prepare import prepare

ROOT = config_dir()
RECIPES = sorted(path.stem for path in (ROOT / "method").glob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (ROOT / "experiment").glob("*.yaml"))
SWEEPS = sorted(path.stem for path in (ROOT / "sweep").glob("*.yaml"))
GROUPS = ("data", "model", "base", "budget", "logger", "method/optimizer", "method/schedule")
CHOICES = [
    [f"{group}={path.stem}" for path in sorted((ROOT / group).glob("*.yaml"))] for group in GROUPS
]

Compose = Callable[..., DictConfig]


def content(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def keys(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, item in node.items():
            yield str(key)
            yield from keys(item)
    elif isinstance(node, list):
        for item in node:
            yield from keys(item)


def test_there_is_something_to_test() -> None:
    assert {"full", "lowrank", "ae", "lora"} <= set(RECIPES)
    assert {"quick", "founding"} <= set(EXPERIMENTS)
    assert all(CHOICES)


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_recipe_composes_builds_applies_and_learns(composed: Compose, recipe: str) -> None:
    cfg = composed(f"method={recipe}", "data=digits", "model.hidden=[16,16]", "rank=4")
    check(cfg)
    data, model, method, *_ = prepare(cfg)
    assert method.name == recipe
    optimizer = method.optimizer(model)
    schedule = method.schedule(optimizer, 100)  # of which these are the first
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    batches = iter(BlockLoader(data.train, batch_size=64, shuffle=True))
    for update in range(4):
        x, y, _ = next(batches)
        optimizer.zero_grad()
        (F.cross_entropy(model(x), y) + method.penalty(model)).backward()
        method.hooks.before_step(model, optimizer, update)
        optimizer.step()
        schedule.step()
        method.hooks.after_step(model, optimizer, update)
        method.hooks.step_end(model, optimizer, update)
    for name, parameter in model.named_parameters():
        assert parameter.isfinite().all(), name
        assert torch.equal(parameter, before[name]) is not parameter.requires_grad, name


@pytest.mark.parametrize("choices", list(zip_longest(*CHOICES)))  # each of all groups once
def test_each_choice_composes(composed: Compose, choices: tuple[str | None, ...]) -> None:
    check(composed(*filter(None, choices)))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_defines_nothing(recipe: str) -> None:
    """An inline `_target_` would defeat `method/adapter=...` on the command line."""
    assert "_target_" not in keys(content(ROOT / "method" / f"{recipe}.yaml"))


def slots() -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "method").glob("*/*.yaml"))


@pytest.mark.parametrize("slot", slots())
def test_a_slot_defines_one_thing(slot: str) -> None:
    found = content(ROOT / slot)
    if slot.startswith("method/hooks/"):  # under its name, so that several go together
        (found,) = found.values()
    assert "_target_" in found
    nested = [entry for entry in found.get("defaults", []) if entry != "_self_"]
    assert all("@" in key for entry in nested for key in entry), "a choice under a key of its own"


def everything() -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.yaml"))


@pytest.mark.parametrize("file", everything())
def test_each_file_says_first_what_it_is(file: str) -> None:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    caption = next(line for line in lines[:2] if not line.startswith("# @package"))
    assert lines[0].startswith("# ")
    assert caption.startswith("# ")


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_each_experiment_composes_with_a_method_of_ones_choice(
    composed: Compose, experiment: str
) -> None:
    cfg = composed(f"experiment={experiment}", "method=ae")
    check(cfg)
    assert cfg.method.name == "ae"


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_leaves_the_method_to_its_sweep_and_the_command_line(
    experiment: str,
) -> None:
    found = content(ROOT / "experiment" / f"{experiment}.yaml")
    assert "method" not in found
    assert "sweeper" not in keys(found)
    chosen = [
        key.removeprefix("override ").lstrip("/")
        for entry in found.get("defaults", [])
        if isinstance(entry, dict)
        for key in entry
    ]
    about_method = {key for key in chosen if key == "method" or key.startswith("method/")}
    assert about_method <= {"method/optimizer"}


@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_sweep_holds_a_grid_of_what_there_is_and_nothing_else(
    composed: Compose, sweep: str
) -> None:
    found = content(ROOT / "sweep" / f"{sweep}.yaml")
    assert list(found) == ["hydra"]
    assert found["hydra"]["mode"] == "MULTIRUN"
    grid = found["hydra"]["sweeper"]["params"]
    if grid["method"] == "glob(*)":
        grid["method"] = ",".join(RECIPES)
    assert {name.strip() for name in grid["method"].split(",")} <= set(RECIPES)
    for key, values in grid.items():
        for value in str(values).split(","):
            check(composed(f"{key}={value.strip()}"))
