"""A folder of many runs, each a copy of one that was really trained.

Of a copy what a sweep would vary is changed: identity, method, rank, learning rate, seed, and the
metrics by noise. A study is 10 methods x 5 ranks x 5 rates x 10 seeds = 2,500 runs of one control;
beyond that come further controls.
"""

import json
import random
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

METHODS = [
    *("lora", "rslora", "lora_plus", "dora", "pissa"),
    *("vera", "adalora", "galore", "apollo", "lowrank"),
]
RANKS = (1, 2, 8, 32, 64)
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
SEEDS = 10


def spread(run: Path, root: Path, count: int) -> list[dict[str, Any]]:
    """Write `count` runs below `root`, copies of the folder `run`; return their records."""
    text = (run / "record.json").read_text(encoding="utf-8")
    records = []
    for index, point in zip(range(count), grid(), strict=False):
        record = _varied(json.loads(text), index, *point)
        label = f"{point[1]}-r{point[2]}-lr{point[3]:g}-s{point[4]}-{record['fingerprint']}"
        folder = root / label
        folder.mkdir(parents=True)
        content = json.dumps(record, indent=1) + "\n"
        (folder / "record.json").write_text(content, encoding="utf-8")
        for name in ("curves.parquet", "metrics.jsonl", "config.yaml", "made_with.json"):
            shutil.copyfile(run / name, folder / name)
        records.append(record)
    return records


def grid() -> Iterator[tuple[int, str, int, float, int]]:
    """(control, method, rank, rate, seed); the seed changes fastest, the control never ends."""
    control = 0
    while True:
        for rate in RATES:
            for rank in RANKS:
                for method in METHODS:
                    for seed in range(SEEDS):
                        yield control, method, rank, rate, seed
        control += 1


def _varied(
    record: dict[str, Any], index: int, control: int, method: str, rank: int, rate: float, seed: int
) -> dict[str, Any]:
    noise = random.Random(index)
    draw = noise.gauss(0, 0.01) - 0.02 * abs(METHODS.index(method) - 4) / 4
    record["fingerprint"] = _digest(index)
    record["control_hash"] = _digest("control", control)
    record["method_hash"] = _digest("method", method, rank, rate)
    record["seed"] = record["config"]["seed"] = seed
    record["name"] |= {"method": method, "rank": rank, "lr": rate}
    record["config"] |= {"rank": rank, "lr": rate}
    record["config"]["budget"]["batch_size"] = 64 * (control + 1)
    record["params"]["trainable"] = 2000 * rank + METHODS.index(method)
    record["overrides"] = [f"method={method}", f"rank={rank}", f"lr={rate:g}", f"seed={seed}"]
    for moment in ("final", "selected"):
        metrics = record["metrics"][moment]
        for name, value in metrics.items():
            if name.endswith("_accuracy") and value is not None:
                metrics[name] = min(1.0, max(0.0, value + draw))
            elif name.endswith("_loss") and value is not None:
                metrics[name] = value * (1 - draw)
    return record


def _digest(*what: Any) -> str:
    return sha256(repr(what).encode()).hexdigest()[:16]
