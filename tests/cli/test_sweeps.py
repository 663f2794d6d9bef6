"""Many runs from one command: each once, whatever becomes of the others."""

import re

import pytest
from left_behind import contents, records

from tests.cli.conftest import STRIKES

pytestmark = pytest.mark.slow

SMALL = ("data=digits", "epochs=1", "model.hidden=[32,32]")
GRID = ("-m", "method=full,lowrank,ae", "rank=1,2,4", "seed=0,1", *SMALL)


@pytest.fixture
def runs(here):
    return here / "runs"


def test_each_run_of_a_grid_is_trained_once_and_never_again(bench, fresh, runs):
    first = bench(*GRID)
    assert (first.code, first.err) == (0, "")
    made = records(runs)
    assert [record["status"] for record in made] == ["finished"] * 14
    assert len({record["fingerprint"] for record in made}) == 14
    methods = [record["name"]["method"] for record in made]
    assert {name: methods.count(name) for name in methods} == {"ae": 6, "full": 2, "lowrank": 6}
    assert len(re.findall(r"\bfinished\b +test", first.out)) == 14
    assert "14 runs (18 points of the grid" in first.out
    assert first.out.splitlines()[-1] == "14 of 14 runs: 14 finished"

    before = contents(runs)
    again = fresh(*GRID)
    assert again.cpu_seconds < 15
    assert (again.code, again.err) == (0, "")
    assert again.out.splitlines()[-1] == "14 of 14 runs: 14 reused"
    assert contents(runs) == before


def test_a_larger_grid_trains_only_what_is_new(bench, runs):
    bench("-m", "method=lowrank", "rank=1,2", *SMALL)
    before = contents(runs)
    outcome = bench("-m", "method=lowrank", "rank=4,2,1", *SMALL)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[-1] == "3 of 3 runs: 1 finished, 2 reused"
    after = contents(runs)
    assert len(after) == 3
    assert before.items() <= after.items()


def test_a_run_that_fails_stops_no_other_and_is_tried_again(bench, runs):
    line = ("-m", "--config-dir", str(STRIKES), "method=lowrank", *SMALL)
    line = (*line, "method/adapter=broken,factorised", "seed=0,1")
    outcome = bench(*line)
    assert (outcome.code, outcome.err) == (1, "")
    assert outcome.out.splitlines()[-1] == "4 of 4 runs: 2 failed, 2 finished"
    assert "RuntimeError: broken on purpose" in outcome.out
    made = records(runs)
    assert sorted(record["status"] for record in made) == ["failed"] * 2 + ["finished"] * 2
    errors = [record["error"] for record in made if record["status"] == "failed"]
    assert errors == [{"type": "RuntimeError", "message": "broken on purpose"}] * 2
    logs = [log.read_text() for log in runs.glob("*/run.log")]
    assert len([text for text in logs if "Traceback" in text]) == 2
    assert bench(*line).out.splitlines()[-1] == "4 of 4 runs: 2 failed, 2 reused"


def test_a_divergence_is_a_result_that_names_the_update_and_stands(bench, runs):
    line = ("-m", "method=full", "method/optimizer=sgd", "lr=1e30,0.01", *SMALL)
    outcome = bench(*line)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[-1] == "2 of 2 runs: 1 diverged, 1 finished"
    (diverged,) = [record for record in records(runs) if record["status"] == "diverged"]
    assert diverged["error"]["type"] == "Diverged"
    assert re.search(r"became (nan|inf) at update \d+$", diverged["error"]["message"])
    before = contents(runs)
    assert bench(*line).out.splitlines()[-1] == "2 of 2 runs: 2 reused"
    assert contents(runs) == before


def test_a_single_run_that_failed_or_diverged_has_the_exit_code_of_a_sweep(bench):
    one = ("method=full", "method/optimizer=sgd", "lr=1e30", *SMALL)
    assert bench(*one).code == 0
    broken = ("--config-dir", str(STRIKES), "method=lowrank", "method/adapter=broken", *SMALL)
    assert bench(*broken).code == 1


def test_two_processes_at_the_same_sweep_share_it(start, runs):
    line = ("-m", "method=lowrank,ae", "rank=1,2", "seed=0,1", *SMALL)
    ends = [command.wait() for command in (start(*line), start(*line))]
    assert [(end.code, end.err) for end in ends] == [(0, "")] * 2
    trained = [label for end in ends for label in re.findall(r"\] (\S+) +finished\b", end.out)]
    assert len(trained) == len(set(trained)) == 8
    assert [record["status"] for record in records(runs)] == ["finished"] * 8
    for end in ends:
        last = end.out.splitlines()[-1]
        assert last.startswith("8 of 8 runs: ")
        assert sum(map(int, re.findall(r"(\d+) (?:finished|reused)", last))) == 8
    for metrics in runs.glob("*/metrics.jsonl"):
        assert metrics.read_text().count('"epoch": 0') == 1


def test_a_key_that_only_the_swept_methods_have_can_be_set(bench, runs):
    line = ("-m", "method=galore,fira", "method.transform.update_gap=7", *SMALL)
    outcome = bench(*line)
    assert (outcome.code, outcome.err) == (0, "")
    gaps = {record["config"]["method"]["transform"]["update_gap"] for record in records(runs)}
    assert gaps == {7}
