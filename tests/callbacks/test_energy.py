"""Counters of energy, none of which this machine need have."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lowrank_bench.callbacks import energy
from lowrank_bench.callbacks.energy import Energy

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def zones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two processors, with a part of one, and a counter of something else."""
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0", "dtpm"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "max_energy_range_uj").write_text("1000000\n")
        (tmp_path / name / "energy_uj").write_text("500000\n")
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    return tmp_path


def counts(zones: Path, name: str, microjoules: int) -> None:
    (zones / name / "energy_uj").write_text(f"{microjoules}\n")


def test_processors_are_added_up_and_their_parts_are_not(zones: Path) -> None:
    meter = Energy.of(CPU, 1)
    meter.open()
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0", "dtpm"):
        counts(zones, name, 700_000)
    meter.close()
    assert meter.joules == pytest.approx(0.4)


def test_what_is_drawn_between_stretches_is_left_out(zones: Path) -> None:
    meter = Energy.of(CPU, 1)
    for began, ended in ((500_000, 600_000), (800_000, 850_000)):
        counts(zones, "intel-rapl:0", began)
        meter.open()
        counts(zones, "intel-rapl:0", ended)
        meter.close()
        meter.close()
    assert meter.joules == pytest.approx(0.15)


def test_a_counter_that_began_again_is_followed(zones: Path) -> None:
    meter = Energy.of(CPU, 1)
    meter.open()
    counts(zones, "intel-rapl:1", 100_000)
    meter.close()
    assert meter.joules == pytest.approx(0.6)


def test_counters_that_may_not_be_read_are_none(zones: Path) -> None:
    (zones / "intel-rapl:1" / "energy_uj").unlink()  # as root reads whatever its mode
    meter = Energy.of(CPU, 1)
    meter.open()
    meter.close()
    assert meter.joules is None


def test_without_counters_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "absent")
    assert Energy.of(CPU, 1).joules is None
    assert Energy.of(torch.device("mps"), 1).joules is None


class FakeNvmlError(Exception):
    pass


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A library that counts millijoules of the one GPU that it knows."""
    library = SimpleNamespace(millijoules=5_000, NVMLError=FakeNvmlError, nvmlInit=lambda: None)

    def handle(uuid: str) -> str:
        if uuid != "GPU-1234":
            raise FakeNvmlError(uuid)
        return uuid

    library.nvmlDeviceGetHandleByUUID = handle
    library.nvmlDeviceGetTotalEnergyConsumption = lambda _: library.millijoules
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    properties = SimpleNamespace(uuid="1234")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    library.properties = properties
    return library


def test_a_gpu_is_found_by_its_own_name(nvml: Any) -> None:
    meter = Energy.of(GPU, 1)
    meter.open()
    nvml.millijoules += 2_500
    meter.close()
    assert meter.joules == pytest.approx(2.5)


def test_a_gpu_that_does_not_count_is_none(nvml: Any) -> None:
    nvml.properties.uuid = "another"
    assert Energy.of(GPU, 1).joules is None


def test_of_several_gpus_none_is_told(nvml: Any) -> None:
    assert Energy.of(GPU, 2).joules is None


def test_without_the_library_a_gpu_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Energy.of(GPU, 1).joules is None
