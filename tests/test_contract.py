"""Every packaged recipe keeps the contract, and the contract can be broken."""

from functools import cache

import pytest

from lowrank_bench.config_dir import config_dir
from lowrank_bench.testing import CLAUSES, Case

RECIPES = sorted(path.stem for path in (config_dir() / "method").glob("*.yaml"))
# Shorter than a paper's cadence, so that refreshes, restarts and masks happen in twelve updates.
REFRESH = ["method.transform.update_gap=4"]
CADENCES = {
    "relora": ["method.hooks.restarts.cycle_length=5"],
    **dict.fromkeys(("galore", "fira", "apollo", "apollo_mini"), REFRESH),
}


@cache
def case(recipe: str) -> Case:
    return Case(recipe, CADENCES.get(recipe, []))


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_keeps_the_contract(recipe: str, clause) -> None:
    clause(case(recipe))
