"""Fashion-MNIST as torchvision wants it: unpacked."""

import gzip
import shutil
from pathlib import Path

from lowrank_bench.data import idx
from lowrank_bench.data.folders import first_with, system


def unpack(root: Path) -> Path:
    """Write the four files below `root`, for torchvision's `FashionMNIST(root)`; return `root`."""
    found = first_with(idx.SPELLINGS, system("fashion_mnist"))
    if found is None:
        raise SystemExit("install Fashion-MNIST first: apt install dataset-fashion-mnist")
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in idx.FILES:
        with gzip.open(found / f"{name}.gz") as packed, open(raw / name, "wb") as plain:
            shutil.copyfileobj(packed, plain)
    return root
