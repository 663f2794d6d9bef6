"""Every recipe from the command line: it trains, its receipts hold, and it survives `kill -9`."""

from pathlib import Path

import pytest
import torch
from left_behind import records

from lowrank_bench.config_dir import config_dir

pytestmark = pytest.mark.slow

RECIPES = sorted(path.stem for path in (config_dir() / "method").glob("*.yaml"))
PROJECTED = ["apollo", "apollo_mini", "fira", "galore"]
SMALL = ("model.hidden=[32,32]", "rank=4", "logger=local")


def test_every_recipe_trains_in_one_sweep_and_every_receipt_holds(bench, here) -> None:
    outcome = bench("experiment=methods", *SMALL)
    assert (outcome.code, outcome.err) == (0, "")
    found = records(here / "runs" / "methods")
    assert sorted(record["config"]["method"]["name"] for record in found) == RECIPES
    for record in found:
        assert record["status"] == "finished"
        assert record["receipts"]["moved"]["ok"] and record["receipts"]["gradient_reached"]["ok"]
        failed = {name: r for name, r in record["receipts"].items() if r["ok"] is False}
        assert not failed, (record["config"]["method"]["name"], failed)


@pytest.mark.parametrize(
    ("recipes", "cadence"),
    [
        ([name for name in RECIPES if name not in PROJECTED], ()),
        (PROJECTED, ("method.transform.update_gap=7",)),
    ],
    ids=["all that restart, mask or do neither", "all that refresh a projector"],
)
def test_every_recipe_killed_in_its_second_epoch_ends_bit_for_bit_like_one_that_was_not(
    bench, here, env, recipes, cadence
) -> None:
    """An epoch has 20 updates; a refresh, restart or mask lies on both sides of the checkpoint."""
    strikes = ("--config-dir", str(Path(__file__).parent / "strikes"))
    line = (
        *("-m", *strikes, f"method={','.join(recipes)}", "data=digits", "epochs=3"),
        *("+method.hooks.die._target_=dying.Die", *SMALL, *cadence),
    )
    env["EAGER_CHECKPOINTS"] = "1"
    env["DIE_AT"] = "29"
    assert bench(*line).out.splitlines()[-1] == f"{len(recipes)} of {len(recipes)} runs: " + (
        f"{len(recipes)} failed"
    )
    del env["DIE_AT"]
    for folder in (here / "runs").iterdir():
        if folder.suffix == "" and (folder / "last.ckpt").exists():
            assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == 20
    assert bench(*line).code == 0
    assert bench(*line, "run.dir=reference").code == 0
    finished = sorted((here / "reference").glob("*/last.ckpt"))
    assert len(finished) == len(recipes)
    for path in finished:
        expected = torch.load(path, weights_only=True)["state_dict"]
        resumed = torch.load(here / "runs" / path.parent.name / path.name, weights_only=True)
        for name, value in resumed["state_dict"].items():
            assert torch.equal(value, expected[name]), (path.parent.name, name)
    for ended, reference in zip(records(here / "runs"), records(here / "reference"), strict=True):
        assert ended["metrics"] == reference["metrics"]
        assert ended["receipts"] == reference["receipts"]
