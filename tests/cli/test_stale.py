"""A result made by other versions is trained again, and kept aside."""

import json

import pytest
from left_behind import records

pytestmark = pytest.mark.slow

LINE = ("method=lowrank", "rank=2", "data=digits", "epochs=1", "model.hidden=[32,32]")


@pytest.mark.parametrize("package", ["torch", "lowrank_bench"])
@pytest.mark.parametrize("sweep", [(), ("-m",)], ids=["run", "sweep"])
def test_a_record_of_another_version_is_not_reused(bench, here, package, sweep):
    runs = here / "runs"
    assert bench(*LINE).code == 0
    (path,) = runs.glob("*/record.json")
    record = json.loads(path.read_text())
    today = record["env"]["versions"][package]
    record["env"]["versions"][package] = "0.0.1"
    path.write_text(json.dumps(record))

    outcome = bench(*sweep, *LINE)
    assert outcome.code == 0
    (said,) = [line for line in outcome.out.splitlines() if "trained afresh" in line]
    assert said.endswith(f"made by {package} 0.0.1, here is {today}")
    (fresh,) = records(runs)
    assert fresh["status"] == "finished"
    assert fresh["env"]["versions"][package] == today
    (kept,) = records(runs / ".superseded")
    assert kept == record
    (aside,) = (runs / ".superseded").iterdir()
    assert (aside / "last.ckpt").exists()

    assert "reused" in bench(*LINE).out
