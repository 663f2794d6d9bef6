import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lowrank_bench.errors import ConfigError
from lowrank_bench.loggers import adverts
from lowrank_bench.loggers.tensorboard import tensorboard_logger
from lowrank_bench.loggers.trackio import trackio_logger
from lowrank_bench.record import RunRecord

ROOT = Path(__file__).parents[2]

# trackio fixes its folder at import, so one run needs one process
TRACKIO_RUN = """
import json, sys
from pathlib import Path
from lowrank_bench.loggers.trackio import trackio_logger
from lowrank_bench.record import RunRecord

record = RunRecord(**json.loads(sys.argv[1]))
for first in (1, 3):  # begun, then resumed
    logger = trackio_logger(record, Path("."), project="p")
    logger.log_metrics({"train_loss": 0.5}, step=first)
    logger.log_metrics({"epoch": 1, "val_loss": 0.25}, step=first + 1)
    logger.finalize("success")
    logger.close(record)
"""


@pytest.mark.slow
def test_a_trackio_row_comes_back(record: RunRecord, tmp_path: Path) -> None:
    environment = os.environ | {"TRACKIO_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    fields = json.dumps(vars(record))
    ran = subprocess.run(
        [sys.executable, "-c", TRACKIO_RUN, fields],
        env=environment,
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert ran.stdout == ""
    program = Path(sys.executable).with_name("trackio")
    query = "select run_name, step, metrics from metrics order by step"
    shown = subprocess.run(
        [program, "query", "project", "--project", "p", "--sql", query, "--json"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    rows = json.loads(shown)["rows"]
    assert {row["run_name"] for row in rows} == {"lora-r8-lr0.001-seed3-f00dfeed"}
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert json.loads(rows[1]["metrics"]) == {"epoch": 1.0, "val_loss": 0.25}


@pytest.mark.slow
def test_tensorboard_gets_curves_and_hparams(record: RunRecord, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = tensorboard_logger(record, tmp_path)
    logger.log_metrics({"train_loss": 0.5}, step=1)
    logger.finalize("success")
    record.status = "finished"
    record.metrics["selected"]["val_accuracy"] = 0.75
    logger.close(record)
    folder = tmp_path / "tensorboard"
    assert "alpha: 16" in (folder / "hparams.yaml").read_text()
    events = EventAccumulator(str(folder))
    events.Reload()
    assert [event.value for event in events.Scalars("train_loss")] == [0.5]
    assert [event.value for event in events.Scalars("selected/val_accuracy")] == [0.75]
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_a_missing_package_is_named(
    record: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # so that what the builder sets is undone
    for package, build in (("tensorboard", tensorboard_logger), ("trackio", trackio_logger)):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ConfigError) as caught:
            build(record, tmp_path)
        assert str(caught.value) == (
            f"logger={package}: the package is not installed; pip install lowrank-bench[{package}]"
        )


def test_adverts_are_dropped_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    adverts.silence()
    speaker = logging.getLogger(adverts.SPEAKERS[0])
    with caplog.at_level(logging.INFO, logger=speaker.name):
        speaker.info("Tip: try installing [litlogger] for more")
        speaker.info("GPU available: False")
    assert [line.message for line in caplog.records] == ["GPU available: False"]
    speaker.removeFilter(adverts.is_wanted)
