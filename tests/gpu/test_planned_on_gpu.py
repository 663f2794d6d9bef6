"""On a GPU, what runs measure is what was planned: to the byte, and peaks within a tenth."""

from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from lowrank_bench.compose import composed
from lowrank_bench.config_dir import config_dir
from lowrank_bench.job import Job
from lowrank_bench.plan.check import compare
from lowrank_bench.plan.plan import plan
from lowrank_bench.record import RunRecord
from lowrank_bench.run import run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
RECIPES = sorted(path.stem for path in (config_dir() / "method").glob("*.yaml"))
# Large enough that what cuBLAS takes for itself is small beside it.
SIZE = ("model=llama_60m", "data=random_tokens", "data.examples=96", "data.val_size=8")
SHORT = ("data.test_size=8", "budget.batch_size=16", "epochs=1", "rank=8", "run.accelerator=gpu")


@pytest.mark.parametrize("recipe", [each for each in RECIPES if each != "bitfit"])  # no biases
def test_a_run_on_a_gpu_costs_what_was_planned(recipe: str, tmp_path: Path) -> None:
    cfg: DictConfig = composed([*SIZE, *SHORT, f"method={recipe}"])
    whole = OmegaConf.create({**cfg, "hydra": {"runtime": {"choices": {}}}})
    record = Job(whole, []).new_record()
    assert run(whole, record, tmp_path, lambda message: None, alone=False) == 0
    found = compare(plan(cfg).to_dict(), RunRecord.read(tmp_path / "record.json"))
    assert "peak_memory_bytes" in {each.quantity for each in found}
    assert [each for each in found if each.agrees is False] == []
