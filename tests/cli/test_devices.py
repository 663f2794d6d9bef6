"""Two devices train what one does."""

import pytest
from left_behind import records

pytestmark = pytest.mark.slow


def test_two_devices_give_the_metrics_of_one(bench, here, alive):
    line = ("method=full", "method/optimizer=sgd", "lr=0.1", "data=digits", "epochs=2")
    outcome = bench(*line, "run.devices=2", "run.dir=two")
    assert outcome.code == 0, outcome
    assert not alive()
    assert bench(*line, "run.dir=one").code == 0
    (two,), (one,) = records(here / "two"), records(here / "one")
    assert two["status"] == one["status"] == "finished"
    assert two["fingerprint"] == one["fingerprint"]
    assert (two["env"]["num_devices"], one["env"]["num_devices"]) == (2, 1)
    for section in ("before", "final", "selected"):
        measured = {k: v for k, v in one["metrics"][section].items() if k != "rule"}
        for name, value in measured.items():
            expected = value if value is None else pytest.approx(value, abs=1e-4)
            assert two["metrics"][section][name] == expected, (section, name)
    assert one["metrics"]["selected"]["test_accuracy"] > 0.3
