"""Energy, from the counters that some devices have."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

POWERCAP = Path("/sys/class/powercap")
PACKAGE = re.compile(r"intel-rapl:\d+")  # AMD's have that name too; parts of one have two numbers


class Energy:
    """Joules drawn over stretches of training, what lies between them left out.

    `joules` is None without counters. `read` gives each counter's state in microjoules, `wraps`
    says where it begins again at 0, for those that do.
    """

    def __init__(
        self, read: Callable[[], Mapping[str, int]] | None, wraps: Mapping[str, int] | None = None
    ) -> None:
        self.read, self.wraps = read, wraps or {}
        self._microjoules = 0
        self._began: Mapping[str, int] | None = None

    @classmethod
    def of(cls, device: torch.device, num_devices: int) -> "Energy":
        """Of one GPU by NVML, or of the processors of this machine, whoever else uses them.

        Several GPUs have none, since one process sees its own alone.
        """
        if device.type == "cpu":
            return _of_packages()
        if device.type == "cuda" and num_devices == 1:
            return _of_gpu(device)
        return cls(None)

    @property
    def joules(self) -> float | None:
        return None if self.read is None else self._microjoules / 1e6

    def open(self) -> None:
        """Training goes on."""
        if self.read is not None:
            self._began = self.read()

    def close(self) -> None:
        """Something else begins."""
        if self.read is None or self._began is None:
            return
        for name, now in self.read().items():
            drawn = now - self._began[name]
            self._microjoules += drawn if drawn >= 0 else drawn + self.wraps.get(name, 0)
        self._began = None


def _of_packages() -> Energy:
    """Running average power limiting, which Linux shows at least to root.

    Source: kernel.org, Documentation/power/powercap/powercap.rst.
    """
    folders = POWERCAP.iterdir() if POWERCAP.is_dir() else ()
    packages = sorted(folder for folder in folders if PACKAGE.fullmatch(folder.name))

    def read() -> dict[str, int]:
        return {each.name: int((each / "energy_uj").read_text()) for each in packages}

    try:
        wraps = {p.name: int((p / "max_energy_range_uj").read_text()) for p in packages}
        return Energy(read, wraps) if read() else Energy(None)
    except (OSError, ValueError):
        return Energy(None)


def _of_gpu(device: torch.device) -> Energy:
    """NVML's count since the driver was loaded; needs the package nvidia-ml-py."""
    try:
        import pynvml as nvml  # type: ignore[import-not-found]
    except ImportError:
        return Energy(None)
    try:
        nvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(device).uuid
        handle: Any = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")

        def read() -> dict[str, int]:
            torch.cuda.synchronize(device)  # what is yet to be computed is yet to be drawn
            return {"gpu": nvml.nvmlDeviceGetTotalEnergyConsumption(handle) * 1000}  # mJ

        read()
    except nvml.NVMLError:
        return Energy(None)
    return Energy(read)
